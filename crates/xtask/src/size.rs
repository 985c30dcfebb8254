//! Flash and RAM of the device's code on a Cortex-M4: one program with the device in it, or a part of it, against the
//! same program without it, both linked for thumbv7em-none-eabihf and optimised for size.

use crate::process;
use crate::toolchain::Toolchain;
use anyhow::{Context, Result};
use object::{Object, ObjectSection, SectionFlags, SectionKind};

/// The processor that is measured on: a Cortex-M4 with FPU, of the class that such sensors have.
pub const TARGET: &str = "thumbv7em-none-eabihf";

/// What a linked program takes, in bytes.
#[derive(Clone, Copy)]
pub struct Footprint {
    /// Code, constants and the initial values of variables.
    pub flash: u64,
    /// Variables, the stack not counted.
    pub ram: u64,
}

/// Everything that a firmware with an identity takes of the two crates.
const WHOLE: &str = "device,factory,partition";

/// Parts of it, as the program's features, and what they are.
const PARTS: [(&str, &str); 7] = [
    (WHOLE, "whole: service, factory, vault's partition"),
    ("device", "device in service"),
    ("factory", "factory's line: provisioning"),
    ("verify", "signed documents: COSE, p256's verification"),
    ("partition", "vault's partition"),
    ("entropy", "health tests and HMAC_DRBG"),
    ("sign", "p256's signature, for a vault without PSA"),
];

/// What selects the SHA-256 with a loop in place of its 64 rounds written out.
const COMPACT_SHA256: &str = "--cfg=sha2_backend_soft=\"compact\"";

/// Links the program with these features and flags for the compiler, and adds up its sections.
fn footprint(features: &str, more_flags: &[&str]) -> Result<Footprint> {
    let toolchain = Toolchain::for_target(TARGET)?;
    let (linker, flavour) = Toolchain::arm_linker()?;
    let folder = process::root().join("crates/footprint");
    let target = process::target().join("footprint");
    let mut build = toolchain.cargo(&["build", "--quiet", "--release", "--target", TARGET])?;
    build.args(["--features", features]);
    let mut flags = vec![
        format!("-Clinker={}", linker.display()),
        format!("-Clinker-flavor={flavour}"),
        "-Clink-arg=--gc-sections".into(),
        format!("-Clink-arg=-T{}", folder.join("footprint.ld").display()),
    ];
    flags.extend(more_flags.iter().map(|flag| (*flag).to_owned()));
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

/// What these features add to the program, in bytes.
fn added(features: &str, flags: &[&str]) -> Result<Footprint> {
    let without = footprint("", flags)?;
    let with = footprint(features, flags)?;
    Ok(Footprint { flash: with.flash - without.flash, ram: with.ram - without.ram })
}

/// Prints what the device and the protocol add to a program.
pub fn run() -> Result<()> {
    let device = added("device", &[])?;
    println!("device + protocol on {TARGET}, optimised for size, against the same program without them:");
    println!(
        "  flash {:>7} B   {:.0} % of 120 kB, the flash that a TLS stack is reckoned to take on such a part",
        device.flash,
        device.flash as f64 / 1_200.0
    );
    println!(
        "  RAM   {:>7} B   {:.0} % of 50 kB, the RAM that it is reckoned to take (the ring of samples is most of ours)",
        device.ram,
        device.ram as f64 / 500.0
    );
    Ok(())
}

/// Prints what each part adds to the same program, with both forms of SHA-256.
pub fn parts() -> Result<()> {
    println!("\nparts, each alone in that program; what they share counts in each:\n");
    println!("| part | flash | of the whole | RAM | flash with compact SHA-256 | of the same part |");
    println!("|---|---:|---:|---:|---:|---:|");
    let whole = added(WHOLE, &[])?.flash as f64;
    for (features, name) in PARTS {
        let part = added(features, &[])?;
        let compact = added(features, &[COMPACT_SHA256])?;
        println!(
            "| {name} | {} B | {:.0} % | {} B | {} B | {:.0} % |",
            part.flash,
            100.0 * part.flash as f64 / whole,
            part.ram,
            compact.flash,
            100.0 * compact.flash as f64 / part.flash as f64
        );
    }
    Ok(())
}
