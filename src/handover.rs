//! How the device's thread and the network's hand something to each other: a thing in its place, which then is the other's; a
//! word, which is read where it stands while its speaker waits; and the bells that wake them. Owns how, never what.

use crate::ffi;
use core::ffi::c_int;
use core::marker::PhantomData;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use device::{Event, Uptime};

/// A place with room for one thing, through which it gets from one thread to the other. Whoever takes it out owns it.
pub struct Place<T: Send + 'static>(AtomicPtr<T>, PhantomData<&'static mut T>);

impl<T: Send + 'static> Place<T> {
    /// Nothing is there.
    pub const fn empty() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()), PhantomData)
    }

    /// Puts it there. What was there before is never seen again: there is one thing that goes to and fro.
    pub fn put(&self, thing: &'static mut T) {
        self.0.swap(thing, Ordering::AcqRel);
    }

    /// Takes out what is there.
    pub fn take(&self) -> Option<&'static mut T> {
        // SAFETY: the pointer was a reference that lives for ever and was given away by `put`; the swap lets one thread alone
        // have it, with everything that was written to it before.
        unsafe { self.0.swap(ptr::null_mut(), Ordering::AcqRel).as_mut() }
    }
}

/// An event, when it happened, and of which connection it is: 0 for none.
#[derive(Clone, Copy, Debug)]
pub struct Word<'a> {
    /// When it happened.
    pub at: Uptime,
    /// The number of the connection.
    pub link: u32,
    /// What happened.
    pub event: Event<'a>,
}

static WORD: AtomicPtr<Word<'static>> = AtomicPtr::new(ptr::null_mut());

/// The one who says something: the network's thread.
pub struct Speaker(());

/// The one who hears it: the device's thread.
pub struct Listener(());

/// Both, once; `None` after that.
pub fn ends() -> Option<(Speaker, Listener)> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    (!TAKEN.swap(true, Ordering::AcqRel)).then_some((Speaker(()), Listener(())))
}

impl Speaker {
    /// Says `word` and waits until it was heard, so that what it borrows stays as it is. The device's loop waits for nothing
    /// that could hang on this thread.
    pub fn say(&mut self, word: Word<'_>) {
        WORD.store(ptr::from_ref(&word).cast_mut().cast(), Ordering::Release);
        ring_device();
        // SAFETY: takes nothing. It returns once the listener has let go of the word, and not before.
        unsafe { ffi::shim_heard_wait() };
    }
}

impl Listener {
    /// Hears what is said, if anything; true where there was something.
    pub fn hear(&mut self, listen: impl FnOnce(&Word<'_>)) -> bool {
        // SAFETY: the speaker has put a pointer to a whole word here, and keeps it as it is until `shim_heard` lets it go on. An
        // event is plain data and references, which any thread may read.
        let Some(word) = (unsafe { WORD.load(Ordering::Acquire).as_ref() }) else { return false };
        listen(word);
        WORD.store(ptr::null_mut(), Ordering::Release);
        // SAFETY: takes nothing.
        unsafe { ffi::shim_heard() };
        true
    }
}

/// Wakes the device's thread, or keeps it from falling asleep the next time.
pub fn ring_device() {
    // SAFETY: takes nothing.
    unsafe { ffi::shim_device_ring() };
}

/// Waits until the device's bell rings, at most `millis` milliseconds.
pub fn wait_for_device_bell(millis: u32) {
    // SAFETY: takes a number; called from the main thread only.
    unsafe { ffi::shim_device_wait(millis) };
}

/// The bell of the network's thread: something to wait for together with sockets.
#[derive(Clone, Copy, Debug)]
pub struct NetworkBell(c_int);

impl NetworkBell {
    /// Hangs it up; the error is a negative errno.
    pub fn open() -> Result<Self, c_int> {
        // SAFETY: takes nothing and gives a file descriptor or a negative errno; called once.
        let bell = unsafe { ffi::shim_bell_open() };
        if bell < 0 { Err(bell) } else { Ok(Self(bell)) }
    }

    /// What can be read from once it has rung.
    pub const fn descriptor(self) -> c_int {
        self.0
    }

    /// Rings.
    pub fn ring(self) {
        // SAFETY: takes the descriptor that `open` has made.
        unsafe { ffi::shim_bell_ring(self.0) };
    }

    /// It has been heard.
    pub fn quiet(self) {
        // SAFETY: as above; does not wait.
        unsafe { ffi::shim_bell_quiet(self.0) };
    }
}

/// Starts the network's thread, beside the one that calls. Called once.
pub fn start_network_thread(entry: extern "C" fn()) {
    // SAFETY: takes a function, which runs on a stack of its own.
    unsafe { ffi::shim_network_thread_start(Some(entry)) };
}
