//! Which devices an image is for: vendor and class, and the UUIDs that stand for them in images, manifests and topics. Owns
//! how the UUIDs follow from names. R-FW-MANIFEST.

use protocol::firmware::Uuid;
use std::fmt;

/// A class of devices by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    vendor_domain: String,
    name: String,
    board: String,
}

/// A name that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProductError(&'static str, String);

impl fmt::Display for ProductError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(what, name) = self;
        write!(
            f,
            "{name:?} is no {what}: it has at least one character, and neither blanks nor control characters"
        )
    }
}

impl std::error::Error for ProductError {}

impl Product {
    /// The devices of this vendor (a domain name), product and board. Names without blanks: the class's name is product and
    /// board with one blank between them.
    pub fn new(vendor_domain: &str, product: &str, board: &str) -> Result<Self, ProductError> {
        for (what, name) in [("vendor domain", vendor_domain), ("product", product), ("board", board)] {
            if name.is_empty()
                || name.chars().any(|character| character.is_whitespace() || character.is_control())
            {
                return Err(ProductError(what, name.to_owned()));
            }
        }
        let owned = str::to_owned;
        Ok(Self { vendor_domain: owned(vendor_domain), name: owned(product), board: owned(board) })
    }

    /// The vendor: UUID version 5 of its domain in the namespace of DNS (RFC 9124, section 3.3).
    pub fn vendor(&self) -> Uuid {
        Uuid(self.vendor_uuid().into_bytes())
    }

    /// The class: UUID version 5 of product and board in the vendor's namespace (RFC 9124, section 3.4).
    pub fn class(&self) -> Uuid {
        let name = format!("{} {}", self.name, self.board);
        Uuid(uuid::Uuid::new_v5(&self.vendor_uuid(), name.as_bytes()).into_bytes())
    }

    /// A version of the class's firmware: UUID version 5 of its text in the class's namespace.
    pub fn release(&self, version: &str) -> Uuid {
        Uuid(uuid::Uuid::new_v5(&uuid::Uuid::from_bytes(self.class().0), version.as_bytes()).into_bytes())
    }

    /// The vendor's domain.
    pub fn vendor_domain(&self) -> &str {
        &self.vendor_domain
    }

    /// The product's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The board's name.
    pub fn board(&self) -> &str {
        &self.board
    }

    fn vendor_uuid(&self) -> uuid::Uuid {
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_DNS, self.vendor_domain.as_bytes())
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}", self.name, self.board, self.vendor_domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python: `uuid5(uuid5(NAMESPACE_DNS, "sensor.example"), "secure-sensor mps2/an385")`.
    #[test]
    fn the_ids_are_those_that_other_implementations_make_of_the_names() {
        let product = Product::new("sensor.example", "secure-sensor", "mps2/an385").unwrap();
        assert_eq!(product.vendor().to_string(), "63bbdc57-4627-53a7-9d30-e60a6514f617");
        assert_eq!(product.class().to_string(), "9b3583c4-3fb7-5140-b270-95126ec0ce21");
        let other = Product::new("sensor.example", "secure-sensor", "linux").unwrap();
        assert_eq!((other.vendor(), other.class() == product.class()), (product.vendor(), false));
    }

    #[test]
    fn names_with_blanks_or_nothing_in_them_are_refused() {
        for (vendor, product, board) in
            [("", "a", "b"), ("a", "b c", "d"), ("a", "b", "c\u{7}"), ("a", "b", "")]
        {
            assert!(Product::new(vendor, product, board).is_err(), "{vendor:?} {product:?} {board:?}");
        }
    }
}
