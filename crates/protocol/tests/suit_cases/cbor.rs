//! CBOR written by hand, so that the tests do not use the writer that they test.

use super::Item;

/// A head with the shortest argument.
fn head(major: u8, argument: u64) -> Item {
    let major = major << 5;
    match argument {
        0..24 => vec![major | argument as u8],
        24..0x100 => vec![major | 0x18, argument as u8],
        0x100..0x1_0000 => [&[major | 0x19][..], &(argument as u16).to_be_bytes()].concat(),
        0x1_0000..0x1_0000_0000 => [&[major | 0x1a][..], &(argument as u32).to_be_bytes()].concat(),
        _ => [&[major | 0x1b][..], &argument.to_be_bytes()].concat(),
    }
}

pub fn int(number: i64) -> Item {
    if number < 0 { head(1, !number as u64) } else { head(0, number as u64) }
}

pub fn bytes(content: &[u8]) -> Item {
    [head(2, content.len() as u64), content.to_vec()].concat()
}

pub fn text(content: &str) -> Item {
    [head(3, content.len() as u64), content.as_bytes().to_vec()].concat()
}

pub fn array(items: &[Item]) -> Item {
    [head(4, items.len() as u64), items.concat()].concat()
}

pub fn map(entries: &[(Item, Item)]) -> Item {
    let content = entries.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect::<Vec<_>>();
    [head(5, entries.len() as u64), content.concat()].concat()
}

pub fn tag(number: u64, item: Item) -> Item {
    [head(6, number), item].concat()
}

pub fn null() -> Item {
    vec![0xf6]
}

pub fn yes() -> Item {
    vec![0xf5]
}

/// An item inside a byte string.
pub fn wrap(item: &Item) -> Item {
    bytes(item)
}
