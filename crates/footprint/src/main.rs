//! A program that has parts of the device in it and nothing else, to be linked and measured: a feature for each part.
//! `black_box` stands for every input and every answer of a board, so that nothing is optimised away; without a feature
//! it is the reference.
#![no_std]
#![no_main]

#[cfg(any(feature = "device", feature = "factory"))]
mod board;
#[cfg(feature = "device")]
mod device_in_service;
#[cfg(feature = "entropy")]
mod entropy;
#[cfg(feature = "factory")]
mod factory;
#[cfg(feature = "partition")]
mod partition;
#[cfg(feature = "sign")]
mod sign;
#[cfg(feature = "verify")]
mod verify;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Where the linker starts.
// SAFETY: the name is this program's only exported symbol, and nothing else is linked with it.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text.start")]
pub extern "C" fn start() -> ! {
    #[cfg(feature = "device")]
    device_in_service::run();
    #[cfg(feature = "entropy")]
    entropy::run();
    #[cfg(feature = "factory")]
    factory::run();
    #[cfg(feature = "partition")]
    partition::run();
    #[cfg(feature = "sign")]
    sign::run();
    #[cfg(feature = "verify")]
    verify::run();
    loop {
        core::hint::black_box(());
    }
}
