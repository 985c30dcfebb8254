//! `sensorctl firmware`.

pub(in crate::cli) mod arguments;
mod make;
mod publish;
mod release;
mod status;
mod withdraw;

use super::Failure;
use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Firmware {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make the bootloader's key: it signs images
    ///
    /// Writes image.pub (the public half, PEM) and image.key (PKCS#8, readable by you alone), or image.pkcs11.json where the
    /// key is made in a token. It is none of the powers' keys: MCUboot has it built in, and a device takes no image
    /// that is not signed with it, whoever signed the manifest.
    Key(make::Key),
    /// Make an image in MCUboot's form, for devices on Linux and for tests
    ///
    /// The firmware's own build makes zephyr.signed.bin: it is not needed for that. The image names vendor and class, is
    /// signed with the bootloader's key, and is read back before it is written.
    Image(make::Image),
    /// Make a release of an image: the manifest, signed with the key of the power over firmware, and what devices fetch
    ///
    /// The image is held to what devices hold it to, so that a release is not refused in the field: form, hash, vendor, class,
    /// signature (with --image-key), size (with --capacity), age of the bases. Each delta is made, decoded as devices decode
    /// it, compared, and kept where it is worth it. The folder holds manifest.suit, release.json (the same for people and
    /// programs), image.bin and the deltas.
    Sign(release::Sign),
    /// Show a release, and check everything in it as devices do
    #[command(visible_alias = "inspect")]
    Verify(release::Verify),
    /// Bring a release to the broker and give it to the fleet, one share after the other
    ///
    /// First all blocks (those that the broker has already are not sent again; every block is read back, because MQTT 3.1.1
    /// brokers acknowledge what they forbid), then the manifest, then the roll-out's first share, signed with the key of the
    /// power over configurations. A stage is over when every known device of the share is confirmed or has failed, or when
    /// --wait is over; the next share follows. Known are the devices of this class that have said anything, and
    /// those in the registry. When too many have failed the share is set to 0: no device begins any more. Ctrl-C leaves the
    /// share as it is; the same command goes on from there.
    Publish(publish::Publish),
    /// How the firmware of the fleet is: by version, phase and reason, and which devices lag behind
    Status(status::Status),
    /// Take a release back: no device begins it any more
    ///
    /// A roll-out of share 0 is signed and kept by the broker, then the manifest is cleared. Devices that have confirmed the
    /// image keep it. To offer the same image again, publish the same release with --again, or sign it anew.
    Withdraw(withdraw::Withdraw),
}

impl Firmware {
    pub(super) fn run(self) -> Result<u8, Failure> {
        match self.action {
            Action::Key(arguments) => arguments.run().map(|()| 0),
            Action::Image(arguments) => arguments.run().map(|()| 0),
            Action::Sign(arguments) => arguments.run().map(|()| 0),
            Action::Verify(arguments) => arguments.run().map(|()| 0),
            Action::Publish(arguments) => arguments.run(),
            Action::Status(arguments) => arguments.run(),
            Action::Withdraw(arguments) => arguments.run().map(|()| 0),
        }
    }
}
