//! Flash and RAM of the device's code on a Cortex-M4: one program with the device in it against the same program
//! without it, both linked for thumbv7em-none-eabihf and optimised for size.

use crate::process;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result};
use object::{Object, ObjectSection, SectionFlags, SectionKind};

/// The processor that the seeds talk of: a Cortex-M4 with FPU.
pub const TARGET: &str = "thumbv7em-none-eabihf";

/// What a linked program takes, in bytes.
#[derive(Clone, Copy)]
pub struct Footprint {
    /// Code, constants and the initial values of variables.
    pub flash: u64,
    /// Variables, the stack not counted.
    pub ram: u64,
}

/// Links the program, with the device or without, and adds up its sections.
fn footprint(with_device: bool) -> Result<Footprint> {
    let toolchain = Toolchain::for_target(TARGET)?;
    let (linker, flavour) = Toolchain::arm_linker()?;
    let folder = process::root().join("crates/footprint");
    let target = process::target().join("footprint");
    let mut build = toolchain.cargo(&["build", "--quiet", "--release", "--target", TARGET])?;
    if with_device {
        build.args(["--features", "device"]);
    }
    let flags = [
        format!("-Clinker={}", linker.display()),
        format!("-Clinker-flavor={flavour}"),
        "-Clink-arg=--gc-sections".into(),
        format!("-Clink-arg=-T{}", folder.join("footprint.ld").display()),
    ];
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env("CARGO_TARGET_DIR", &target);
    process::run(build.current_dir(&folder))?;
    let program = target.join(TARGET).join("release/footprint");
    let bytes = std::fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    let file = object::File::parse(&*bytes)?;
    let mut sum = Footprint { flash: 0, ram: 0 };
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        if sh_flags & u64::from(object::elf::SHF_ALLOC) == 0 {
            continue;
        }
        let is_bss = section.kind() == SectionKind::UninitializedData;
        if !is_bss {
            sum.flash += section.size();
        }
        if is_bss || sh_flags & u64::from(object::elf::SHF_WRITE) != 0 {
            sum.ram += section.size();
        }
    }
    Ok(sum)
}

/// What the device and the protocol add to a program, in bytes.
pub fn device() -> Result<Footprint> {
    let without = footprint(false)?;
    let with = footprint(true)?;
    Ok(Footprint { flash: with.flash - without.flash, ram: with.ram - without.ram })
}

/// Prints it.
pub fn run() -> Result<()> {
    let device = device()?;
    println!("device + protocol on {TARGET}, optimised for size, against the same program without them:");
    println!(
        "  flash {:>7} B   of the 120 kB that the seeds allow for TLS: {:.0} %",
        device.flash,
        device.flash as f64 / 1_200.0
    );
    println!(
        "  RAM   {:>7} B   of their 50 kB: {:.0} % (the ring of samples is most of it)",
        device.ram,
        device.ram as f64 / 500.0
    );
    Ok(())
}
