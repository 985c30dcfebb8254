//! The real MCUboot on the virtual board: what it refuses although an application marked it, how it goes back, what the watchdog
//! is for, and power cuts. Each test starts its own QEMU on the board that `SENSOR_BOARD_BUILDS` names: `cargo xtask test board` builds
//! it, sets it and runs them.

use std::path::PathBuf;
use std::time::Duration;
use virtualboard::campaign::{self, Means};
use virtualboard::flash::{Flag, SECTOR_BYTES};
use virtualboard::image::{HEADER_BYTES, Mark};
use virtualboard::scenario::{STEADY, Scenario, images};
use virtualboard::{
    Board, Builds, Flash, Network, OperationLog, Orders, PATIENCE, Setup, Signer, Slot, builds,
};

/// Size of the images without their TLVs, in bytes; the room for the header is in it.
const BODY_BYTES: usize = 20_000;

/// What every test needs.
struct Given {
    builds: Builds,
    signer: Signer,
    body: Vec<u8>,
    folder: tempfile::TempDir,
}

fn given() -> Given {
    let builds = Builds::from_environment();
    let builds = builds
        .unwrap_or_else(|| panic!("{} names no built board: `cargo xtask test board`", builds::VARIABLE));
    assert!(builds.are_there(), "the folder that {} names has no built board", builds::VARIABLE);
    let shared = std::path::Path::new("/dev/shm");
    let folder = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap();
    Given { signer: builds.signer().unwrap(), body: builds.body().unwrap(), builds, folder }
}

impl Given {
    fn sign(&self, version: &str) -> Vec<u8> {
        self.signer.sign_padded(&self.body, version, BODY_BYTES, 5).unwrap()
    }

    fn flash_file(&self) -> PathBuf {
        self.folder.path().join("flash.bin")
    }

    /// A board with this in its flash, running.
    fn start(&self, flash: &Flash) -> Board {
        flash.write(&self.flash_file()).unwrap();
        Board::start(&Setup::new(self.builds.bootloader(), self.flash_file())).unwrap()
    }

    fn flash(&self) -> Flash {
        Flash::read(&self.flash_file()).unwrap()
    }

    /// Version 1 runs; `candidate` is in slot 1, which the application marks unchecked, and restarts.
    fn offer(&self, candidate: &[u8]) -> (Vec<String>, Flash) {
        let mut flash = Flash::erased();
        flash.install(Slot::Running, &self.sign("1.0.0")).unwrap();
        let begin = Slot::Candidate.image_offset();
        flash.bytes_mut()[begin..begin + candidate.len()].copy_from_slice(candidate);
        self.offer_in(flash)
    }

    fn offer_in(&self, mut flash: Flash) -> (Vec<String>, Flash) {
        Orders { mark: Mark::Anything, confirm: true, restart: true, ..Orders::IDLE }.put(&mut flash);
        let mut board = self.start(&flash);
        board.wait_for("the mark", PATIENCE, |line| line.contains("boot-test: marks 0")).unwrap();
        // It would mark it again.
        let started =
            board.wait_for("the next start", PATIENCE, |line| line.contains("boot-test: runs")).unwrap();
        drop(board);
        (started, self.flash())
    }

    /// Version 1 stays, whole, and MCUboot says why where it has a word for it.
    fn refuses(&self, candidate: &[u8], why: Option<&str>) {
        let (lines, flash) = self.offer(candidate);
        Self::stayed(&lines, &flash, why);
    }

    fn stayed(lines: &[String], flash: &Flash, why: Option<&str>) {
        let console = lines.join("\n");
        assert!(lines.last().unwrap().contains("boot-test: runs 1.0.0 confirmed"), "{console}");
        let running = flash.image(Slot::Running).unwrap();
        assert_eq!(virtualboard::image::version(running).as_deref(), Some("1.0.0"));
        if let Some(why) = why {
            assert!(lines.iter().any(|line| line.contains(why)), "MCUboot does not say {why:?}:\n{console}");
        }
    }
}

/// `MCUBOOT_MODE_SWAP_USING_OFFSET`, `MCUBOOT_SIGNATURE_TYPE_ECDSA_P256`, and the most bytes that an image may have.
const BOOT_INFO: &str = "boot info mode 9 signature 2 room 782336";

/// What MCUboot says of an image that it finds invalid, whatever is wrong with it. It then erases its first sector.
const INVALID: &str = "Image in the secondary slot is not valid!";

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn the_board_starts_what_is_in_slot_0() {
    let given = given();
    let mut flash = Flash::erased();
    flash.install(Slot::Running, &given.sign("1.2.3")).unwrap();
    let mut board = given.start(&flash);
    let lines = board.wait_for("its start", PATIENCE, |line| line.contains(STEADY)).unwrap();
    assert!(lines.iter().any(|line| line.contains("Image version: v1.2.3")), "{}", lines.join("\n"));
    // What MCUboot tells it through retained RAM: swap-using-offset, ECDSA P-256, slot 0 without the trailer's sectors.
    assert!(lines.iter().any(|line| line.contains(BOOT_INFO)), "{}", lines.join("\n"));
    // Neither a reset nor a cut takes anything from it.
    board.reset().unwrap();
    board.wait_for("its start after a reset", PATIENCE, |line| line.contains("steady 1.2.3")).unwrap();
    board.power_cycle().unwrap();
    board.wait_for("its start after a power cut", PATIENCE, |line| line.contains("steady 1.2.3")).unwrap();
    board.quit().unwrap();
    assert_eq!(given.flash().difference(&flash), None);
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn a_newer_image_is_installed_and_stays_once_it_is_confirmed() {
    let given = given();
    let newer = given.sign("2.0.0");
    let mut flash = Flash::erased();
    flash.install(Slot::Running, &given.sign("1.0.0")).unwrap();
    flash.install(Slot::Candidate, &newer).unwrap();
    Orders::UPDATE.put(&mut flash);
    let mut board = given.start(&flash);
    let lines = board.wait_for("the end of the update", PATIENCE, |line| line.contains(STEADY)).unwrap();
    assert!(lines.iter().any(|line| line.contains("runs 2.0.0 trial")), "{}", lines.join("\n"));
    assert!(lines.last().unwrap().contains("steady 2.0.0 confirmed"), "{}", lines.join("\n"));
    board.power_cycle().unwrap();
    board.wait_for("the confirmed image", PATIENCE, |line| line.contains("steady 2.0.0 confirmed")).unwrap();
    drop(board);
    assert!(given.flash().holds(Slot::Running, &newer));
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_image_that_is_not_confirmed_is_taken_back() {
    let given = given();
    let (old, new) = (given.sign("1.0.0"), given.sign("2.0.0"));
    let mut flash = Flash::erased();
    flash.install(Slot::Running, &old).unwrap();
    flash.install(Slot::Candidate, &new).unwrap();
    flash.mark(false);
    Orders::REVERT.put(&mut flash);
    let mut board = given.start(&flash);
    let lines = board.wait_for("the end", PATIENCE, |line| line.contains(STEADY)).unwrap();
    let position = |words: &str| lines.iter().position(|line| line.contains(words));
    let (trial, back) = (position("runs 2.0.0 trial"), position("steady 1.0.0 confirmed"));
    assert!(trial.is_some() && back.is_some() && trial < back, "{}", lines.join("\n"));
    drop(board);
    assert!(given.flash().holds(Slot::Running, &old));
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_image_that_is_marked_for_good_stays_without_a_confirmation() {
    let given = given();
    let mut flash = Flash::erased();
    flash.install(Slot::Running, &given.sign("1.0.0")).unwrap();
    flash.install(Slot::Candidate, &given.sign("2.0.0")).unwrap();
    flash.mark(true);
    let mut board = given.start(&flash);
    board.wait_for("the new image", PATIENCE, |line| line.contains("steady 2.0.0 confirmed")).unwrap();
    drop(board);
    assert_eq!(given.flash().trailer(Slot::Running).image_ok, Flag::Set);
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_image_that_hangs_before_it_has_a_watchdog_is_reset_by_mcuboots_and_taken_back() {
    let given = given();
    let mut flash = Flash::erased();
    flash.install(Slot::Running, &given.sign("1.0.0")).unwrap();
    flash.install(Slot::Candidate, &given.sign("2.0.0")).unwrap();
    flash.mark(false);
    Orders { hang_major: 2, ..Orders::REVERT }.put(&mut flash);
    let mut board = given.start(&flash);
    let lines = board.wait_for("the former image", 2 * PATIENCE, |line| line.contains(STEADY)).unwrap();
    let console = lines.join("\n");
    // The new image was started, and said nothing.
    assert!(console.contains("Image version: v2.0.0") && !console.contains("runs 2.0.0"), "{console}");
    assert!(lines.last().unwrap().contains("steady 1.0.0 confirmed"), "{console}");
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_image_that_panics_is_reset_by_the_watchdog_and_taken_back() {
    let given = given();
    let mut flash = Flash::erased();
    flash.install(Slot::Running, &given.sign("1.0.0")).unwrap();
    flash.install(Slot::Candidate, &given.sign("2.0.0")).unwrap();
    flash.mark(false);
    Orders { panic_major: 2, ..Orders::REVERT }.put(&mut flash);
    let mut board = given.start(&flash);
    let lines = board.wait_for("the former image", 2 * PATIENCE, |line| line.contains(STEADY)).unwrap();
    let console = lines.join("\n");
    assert!(console.contains("runs 2.0.0 trial"), "{console}");
    assert!(lines.last().unwrap().contains("steady 1.0.0 confirmed"), "{console}");
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_altered_byte_is_refused() {
    let given = given();
    for at in [HEADER_BYTES + 1, HEADER_BYTES + 10_000] {
        let mut candidate = given.sign("2.0.0");
        candidate[at] ^= 0x10;
        given.refuses(&candidate, Some(INVALID));
    }
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_altered_header_is_refused() {
    let given = given();
    // The version: a newer one, to pass as newer still.
    let mut candidate = given.sign("2.0.0");
    candidate[20] = 3;
    given.refuses(&candidate, Some(INVALID));
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_altered_tlv_is_refused() {
    let given = given();
    let class = ["--cid", "00010203-0405-0607-0809-0a0b0c0d0e0f"];
    let mut body = given.body.clone();
    body.resize(BODY_BYTES, 7);
    let candidate = given.signer.sign(&body, "2.0.0", &class).unwrap();
    // The protected area: its header, one TLV of 16 bytes. Then, each behind its own header: hash, key's hash, signature.
    let rest = BODY_BYTES + 4 + 20;
    for at in [BODY_BYTES + 8 + 3, rest + 8 + 3, rest + 44 + 3, candidate.len() - 5] {
        let mut altered = candidate.clone();
        altered[at] ^= 0x01;
        given.refuses(&altered, Some(INVALID));
    }
}

/// The area with hash and signature is not signed itself: MCUboot takes a length of it that ends within the last TLV. That
/// changes nothing of what runs; the manifest's digest is over all bytes.
#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn a_length_that_cuts_the_signature_short_is_not_refused_by_mcuboot() {
    let given = given();
    let mut candidate = given.sign("2.0.0");
    candidate[BODY_BYTES + 2] -= 1;
    let (lines, _) = given.offer(&candidate);
    assert!(lines.last().unwrap().contains("boot-test: runs 2.0.0 trial"), "{}", lines.join("\n"));
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn a_wrong_hash_is_refused() {
    let given = given();
    let mut candidate = given.sign("2.0.0");
    // TLV 0x10, 32 bytes: it follows the area's header and its own.
    let hash = BODY_BYTES + 8;
    candidate[hash..hash + 32].fill(0xa5);
    given.refuses(&candidate, Some(INVALID));
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_image_signed_by_another_key_is_refused() {
    let given = given();
    let key = given.folder.path().join("other.pem");
    given.signer.make_key(&key).unwrap();
    let other = given.signer.with_key(Some(&key)).sign_padded(&given.body, "2.0.0", BODY_BYTES, 5).unwrap();
    given.refuses(&other, Some(INVALID));
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_unsigned_image_is_refused() {
    let given = given();
    let unsigned = given.signer.with_key(None).sign_padded(&given.body, "2.0.0", BODY_BYTES, 5).unwrap();
    given.refuses(&unsigned, Some(INVALID));
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_older_image_is_refused() {
    let given = given();
    given.refuses(&given.sign("0.9.9"), Some("erased due to downgrade prevention"));
}

/// MCUboot refuses what is older only (`check_downgrade_prevention`: less than): an image of the same version passes it. That
/// an equal one is refused is the application's task.
#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_image_of_the_same_version_is_not_refused_by_mcuboot() {
    let given = given();
    let other = given.signer.sign_padded(&given.body, "1.0.0", BODY_BYTES, 6).unwrap();
    let (lines, flash) = given.offer(&other);
    assert!(lines.last().unwrap().contains("boot-test: runs 1.0.0 trial"), "{}", lines.join("\n"));
    assert!(flash.holds(Slot::Running, &other));
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn a_truncated_image_is_refused() {
    let given = given();
    let candidate = given.sign("2.0.0");
    for len in [31, HEADER_BYTES, 10_000, candidate.len() - 1] {
        given.refuses(&candidate[..len], None);
    }
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn garbage_is_refused() {
    let given = given();
    let mut rng = fastrand::Rng::with_seed(3);
    let garbage: Vec<u8> = (0..20_000).map(|_| rng.u8(..)).collect();
    given.refuses(&garbage, None);
    given.refuses(&[], None);
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn an_image_that_claims_to_be_larger_than_the_slot_is_refused() {
    let given = given();
    let mut candidate = given.sign("2.0.0");
    for size in [0x000c_0000_u32, 0x7fff_0000, 0xffff_fff0] {
        candidate[12..16].copy_from_slice(&size.to_le_bytes());
        given.refuses(&candidate, None);
    }
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn a_signed_image_that_reaches_into_the_trailer_is_refused() {
    let given = given();
    // The largest that imgtool makes for slot 1 leaves no room for the swap's state in slot 0.
    let room = Slot::Running.range().len();
    let bytes = (room - SECTOR_BYTES..room).rev().step_by(64);
    let large = bytes
        .map(|bytes| given.signer.sign_padded(&given.body, "2.0.0", bytes, 5))
        .find_map(Result::ok)
        .unwrap();
    assert!(large.len() > room - SECTOR_BYTES, "{} of {room}", large.len());
    let mut flash = Flash::erased();
    flash.install(Slot::Running, &given.sign("1.0.0")).unwrap();
    let begin = Slot::Candidate.image_offset();
    flash.bytes_mut()[begin..begin + large.len()].copy_from_slice(&large);
    // Marked by hand: the application would erase its end.
    flash.mark(false);
    let mut board = given.start(&flash);
    let lines = board.wait_for("a start", PATIENCE, |line| line.contains("boot-test: runs")).unwrap();
    drop(board);
    Given::stayed(&lines, &given.flash(), None);
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn the_host_reaches_a_board_with_a_network_only_over_what_is_forwarded() {
    let given = given();
    let mut flash = Flash::erased();
    flash.install(Slot::Running, &given.sign("1.0.0")).unwrap();
    flash.write(&given.flash_file()).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut setup = Setup::new(given.builds.bootloader(), given.flash_file());
    setup.network = Network::User { forward: vec![(port, 8080)] };
    let mut board = Board::start(&setup).unwrap();
    board.wait_for("its start", PATIENCE, |line| line.contains(STEADY)).unwrap();
    // QEMU listens for the board; the test image has no network itself.
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
}

#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn power_may_be_cut_at_any_operation_of_an_update() {
    let given = given();
    let images = images(&given.builds, 24_000, 1).unwrap();
    let folder = given.folder.path();
    let update = Scenario::update(&given.builds, "24 kB", &images, false, folder).unwrap();
    let phases = ["mark", "swap", "confirm"].map(|phase| update.log.range(phase).len());
    assert!(phases.iter().all(|operations| *operations > 0), "{phases:?}");
    // A log that was kept in a file does as well.
    let kept = folder.join("update.flashlog");
    update.log.save(&kept).unwrap();
    let from_file = Scenario::from_log(OperationLog::load(&kept).unwrap());
    assert_eq!(from_file.expected.images.len(), 2);
    let revert = Scenario::revert(&given.builds, "24 kB", &images, &update.log, folder).unwrap();
    let scenarios = [update, revert, from_file];
    let means = Means {
        bootloader: given.builds.bootloader(),
        programs: given.builds.programs().unwrap(),
        extra: Vec::new(),
        folder,
        keep: folder,
        patience: Duration::from_secs(60),
    };
    let cuts = campaign::plan(&scenarios, &[], Some(150), 4);
    let report = campaign::run(&means, &scenarios, &cuts, &|_| ()).unwrap();
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert_eq!(report.total().recovered, 150);
}

/// The proof that a brick would be seen: a board whose both images are destroyed is one.
#[test]
#[ignore = "needs a built board: cargo xtask test board"]
fn a_board_without_an_image_is_told_to_be_a_brick() {
    let given = given();
    let flash = Flash::erased();
    let setup = Setup::new(given.builds.bootloader(), given.flash_file());
    let mut bench =
        virtualboard::Bench::start(&setup, given.builds.programs().unwrap(), Duration::from_secs(30))
            .unwrap();
    let expected = virtualboard::bench::Expectation {
        settled: vec![STEADY.into()],
        images: vec![given.sign("1.0.0")],
        end: None,
    };
    let (brick, _) = bench.power_on(&flash, &expected).unwrap().unwrap_err();
    assert_eq!(brick, virtualboard::Brick::NoImage);
    // And the same bench goes on.
    let mut flash = Flash::erased();
    flash.install(Slot::Running, &expected.images[0]).unwrap();
    assert!(bench.power_on(&flash, &expected).unwrap().is_ok());
}
