//! Identity and trust of a device in the field: rotation, roots, tokens, and the end of its life.

mod world;

#[path = "identity/authorities.rs"]
mod authorities;
#[path = "identity/expiry.rs"]
mod expiry;
#[path = "identity/failures.rs"]
mod failures;
#[path = "identity/lapse.rs"]
mod lapse;
#[path = "identity/retirement.rs"]
mod retirement;
#[path = "identity/roots.rs"]
mod roots;
#[path = "identity/rotation.rs"]
mod rotation;
#[path = "identity/token.rs"]
mod token;
