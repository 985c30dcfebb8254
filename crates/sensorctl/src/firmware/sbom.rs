//! The reference to an image's bill of materials that its manifest carries: a concise software identification tag (RFC 9393)
//! that links to the document. Never reads the document. R-FW-MANIFEST.

use super::product::Product;
use minicbor::Decoder;
use minicbor::data::Type;
use protocol::image::Version;
use protocol::suit::Coswid;

/// Labels of a tag's link and of the link's address (RFC 9393, section 6.1).
const LINK: u8 = 4;
const HREF: u8 = 38;

/// The tag of this version for these devices, with the address of its bill of materials.
pub fn tag(product: &Product, version: Version, sbom: &str) -> Option<Vec<u8>> {
    let (text, software) = (version.to_string(), format!("{} {}", product.name(), product.board()));
    let id = product.release(&text);
    let tag = Coswid { id, software: &software, version: &text, maker: product.vendor_domain(), sbom };
    let mut bytes = vec![0; 256 + software.len() + product.vendor_domain().len() + sbom.len()];
    let len = tag.encode(&mut bytes).ok()?;
    bytes.truncate(len);
    Some(bytes)
}

/// Where the first link of a tag leads, as far as it can be read: for people.
pub fn link(tag: &[u8]) -> Option<&str> {
    let mut link = entry(&mut Decoder::new(tag), LINK)?;
    if link.datatype().ok()? == Type::Array {
        link.array().ok()?;
    }
    let mut href = entry(&mut link, HREF)?;
    if href.datatype().ok()? == Type::Tag {
        href.tag().ok()?;
    }
    href.str().ok()
}

/// The value with this label in the map that comes next.
fn entry<'b>(map: &mut Decoder<'b>, wanted: u8) -> Option<Decoder<'b>> {
    for _ in 0..map.map().ok()?? {
        let label = map.clone().u8().ok();
        map.skip().ok()?;
        if label == Some(wanted) {
            return Some(map.clone());
        }
        map.skip().ok()?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_leads_to_the_bill_of_materials() {
        let product = Product::new("sensor.example", "secure-sensor", "linux").unwrap();
        let sbom = "https://sensor.example/sbom/1.2.3.spdx.json";
        let bytes = tag(&product, Version::new(1, 2, 3), sbom).unwrap();
        assert_eq!(link(&bytes), Some(sbom));
        assert_ne!(tag(&product, Version::new(1, 2, 4), sbom).unwrap(), bytes);
        assert!((0..bytes.len()).all(|len| link(&bytes[..len]).is_none_or(|found| found == sbom)));
    }

    #[test]
    fn tags_of_others_are_read_as_far_as_they_lead_somewhere() {
        assert_eq!(link(b"\xa1\x01\x61a"), None);
        assert_eq!(link(b"\xa2\x61x\x00\x04\x81\xa1\x18\x26\x61a"), Some("a"));
        assert_eq!(link(b"\xbf\xff"), None);
    }
}
