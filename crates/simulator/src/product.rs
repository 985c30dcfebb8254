//! Which firmware a simulated device may run: the identifiers of vendor and class, and the key of its images. R-FW-MANIFEST.

use device::Product;
use protocol::{PublicKey, Uuid};

/// The vendor's domain.
pub const VENDOR: &str = "sensor.example";
/// The product's name.
pub const PRODUCT: &str = "secure-sensor";
/// The board's name.
pub const BOARD: &str = "linux";

/// The product that this program is; images are signed with `image_key`, and without it none is taken.
pub fn product(image_key: Option<PublicKey>) -> Product {
    let vendor = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, VENDOR.as_bytes());
    let class = uuid::Uuid::new_v5(&vendor, format!("{PRODUCT} {BOARD}").as_bytes());
    Product { vendor: Uuid(vendor.into_bytes()), class: Uuid(class.into_bytes()), image_key }
}

#[cfg(test)]
mod tests {
    use super::product;

    #[test]
    fn vendor_and_class_are_what_imgtool_makes_of_the_same_names() {
        // uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_DNS, "sensor.example"), "secure-sensor linux") of Python.
        let product = product(None);
        assert_eq!(product.vendor.to_string(), "63bbdc57-4627-53a7-9d30-e60a6514f617");
        assert_eq!(product.class.to_string(), "be00bb7b-039a-5166-9c1d-9a651620f830");
    }
}
