//! The fuzz targets' bodies over the committed seeds, each also cut at every length and with every byte flipped.

use std::path::Path;

#[test]
fn no_seed_nor_any_cut_or_flip_of_it_breaks_a_promise() {
    for (name, body) in device::fuzz::TARGETS.into_iter().chain(protocol::fuzz::TARGETS) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
        let mut seeds = 0;
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            body(&bytes);
            for cut in 0..bytes.len() {
                body(&bytes[..cut]);
                for flip in [0x01, 0x10, 0x80, 0xff] {
                    let mut altered = bytes.clone();
                    altered[cut] ^= flip;
                    body(&altered);
                }
            }
            seeds += 1;
        }
        assert!(seeds > 1, "{name} has {seeds} seeds");
    }
}
