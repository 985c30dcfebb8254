//! Manifests that are nearly right, each refused by the name that `docs/manifest.md` gives; signed by the right key, so that
//! nothing but the one thing is wrong. And their neighbours, which are right.

mod samples;
mod suit_cases;

use protocol::UpdateFault::{
    self, Algorithm, Incomplete, Malformed, ManifestDigest, NoSource, Signature, TooLarge, UnknownKey,
    Unsigned, Unsupported,
};
use protocol::key::sha256;
use suit_cases::cbor::{array, bytes, int, map, null, tag, text, wrap, yes};
use suit_cases::{Body, Item, Parts, coswid, digest_item, judged};

fn check(cases: &[(&str, Vec<u8>, UpdateFault)]) {
    for (name, envelope, fault) in cases {
        assert_eq!(judged(envelope).map(drop), Err(*fault), "{name}");
    }
}

fn parts() -> Parts {
    Parts::around(&Body::new().write())
}

#[test]
fn what_the_near_misses_are_next_to_is_taken() {
    let manifest = Body::new().sealed();
    assert_eq!(judged(&manifest).expect("right").sources.len(), 1);
    // The algorithm by its newer name, and a key without a name.
    for protected in [map(&[(int(1), int(-9))]), map(&[(int(1), int(-7))])] {
        assert!(judged(&Parts { protected, ..parts() }.write()).is_ok());
    }
    // No way to the image, and a bootloader's part.
    let plain = Body::new().without(20).with(7, wrap(&array(&[int(12), int(0), int(3), int(0)])));
    assert!(
        judged(&plain.with(9, wrap(&array(&[int(23), int(15)]))).sealed()).expect("right").sources.is_empty()
    );
}

#[test]
fn an_envelope_has_one_signature_of_one_kind_and_nothing_that_is_unknown() {
    let with_wrapper = |change: &dyn Fn(&Parts, Item) -> Item| {
        let parts = parts();
        let digest = digest_item(&sha256(&[&parts.manifest]));
        parts.write_with(&change(&parts, digest))
    };
    let protected = |entries: &[(Item, Item)]| Parts { protected: map(entries), ..parts() }.write();
    let with = |key: Item, value: Item| Parts { severed: vec![(key, value)], ..parts() }.write();
    let alg = (int(1), int(-7));
    check(&[
        ("no tag", parts().write()[2..].to_vec(), Malformed),
        ("another tag", [&[0xd8, 0x6c], &parts().write()[2..]].concat(), Malformed),
        ("no wrapper", tag(107, map(&[(int(3), parts().manifest)])), Unsigned),
        ("no manifest", tag(107, map(&[(int(2), bytes(&parts().wrapper()))])), Malformed),
        ("no digest", with_wrapper(&|_, _| array(&[])), Malformed),
        ("no signature", with_wrapper(&|_, digest| array(&[bytes(&digest)])), Unsigned),
        (
            "two signatures",
            with_wrapper(&|parts, digest| {
                let block = bytes(&parts.block(&digest));
                array(&[bytes(&digest), block.clone(), block])
            }),
            Unsupported,
        ),
        (
            "a digest that is another algorithm's",
            with_wrapper(&|parts, _| {
                let digest = array(&[int(-43), bytes(&[0; 32])]);
                array(&[bytes(&digest), bytes(&parts.block(&digest))])
            }),
            Algorithm,
        ),
        (
            "a digest of another manifest",
            with_wrapper(&|parts, _| {
                let digest = digest_item(&[0; 32]);
                array(&[bytes(&digest), bytes(&parts.block(&digest))])
            }),
            ManifestDigest,
        ),
        (
            "a short signature",
            with_wrapper(&|parts, digest| {
                let block =
                    [&[0xd2, 0x84][..], &bytes(&parts.protected), &map(&[]), &null(), &bytes(&[1; 63])];
                array(&[bytes(&digest), bytes(&block.concat())])
            }),
            Malformed,
        ),
        (
            "a signature of zeros",
            with_wrapper(&|parts, digest| {
                let block =
                    [&[0xd2, 0x84][..], &bytes(&parts.protected), &map(&[]), &null(), &bytes(&[0; 64])];
                array(&[bytes(&digest), bytes(&block.concat())])
            }),
            Signature,
        ),
        ("a MAC", Parts { tag: 17, ..parts() }.write(), Algorithm),
        ("many signers", Parts { tag: 98, ..parts() }.write(), Algorithm),
        ("another algorithm", protected(&[(int(1), int(-35))]), Algorithm),
        ("an algorithm's name", protected(&[(int(1), text("ES256"))]), Algorithm),
        ("no algorithm", protected(&[]), Algorithm),
        ("a critical header", protected(&[alg.clone(), (int(2), array(&[int(1)]))]), Unsupported),
        ("another key's name", protected(&[alg.clone(), (int(4), bytes(&[1; 32]))]), UnknownKey),
        ("a key's name of another kind", protected(&[alg, (int(4), bytes(b"kid-1"))]), UnknownKey),
        (
            "an unprotected header",
            Parts { unprotected: map(&[(int(4), bytes(&[1; 32]))]), ..parts() }.write(),
            Unsupported,
        ),
        ("a payload", Parts { payload: bytes(&digest_item(&[0; 32])), ..parts() }.write(), Malformed),
        ("an integrated payload", with(text("#image"), bytes(b"image")), Unsupported),
        ("payload-fetch", with(int(16), wrap(&array(&[int(3), int(15)]))), Unsupported),
        ("delegation", with(int(1), bytes(&[])), Unsupported),
        ("an unknown element", with(int(24), bytes(&[])), Unsupported),
    ]);
}

#[test]
fn an_encoding_that_is_not_deterministic_is_malformed() {
    let manifest = |bytes: &[u8]| Parts::around(&bytes.to_vec()).write();
    let right = Body::new().write();
    // The manifest begins with the map's head, then version and sequence number.
    assert_eq!(right[..5], [0xa4, 0x01, 0x01, 0x02, 0x09]);
    check(&[
        ("a long number", manifest(&[&right[..4], &[0x18, 0x09], &right[5..]].concat()), Malformed),
        ("a long key", manifest(&[&right[..3], &[0x18, 0x02], &right[4..]].concat()), Malformed),
        ("a long head of a map", manifest(&[&[0xb8, 0x04], &right[1..]].concat()), Malformed),
        ("a map without length", manifest(&[&[0xbf], &right[1..], &[0xff]].concat()), Malformed),
        ("a key twice", manifest(&[&[0xa5], &right[1..5], &right[3..]].concat()), Malformed),
        (
            "keys in another order",
            manifest(&[&[0xa4], &right[3..5], &right[1..3], &right[5..]].concat()),
            Malformed,
        ),
        ("something at the end", manifest(&[&right[..], &[0]].concat()), Malformed),
        ("no map", manifest(&[0x80]), Malformed),
        ("a text that is none", Body::new().with(4, vec![0x61, 0xff]).sealed(), Malformed),
        ("a float", Body::new().with(2, vec![0xf9, 0, 0]).sealed(), Malformed),
    ]);
}

#[test]
fn a_manifest_without_what_is_needed_is_incomplete() {
    let body = Body::new;
    let is = body().shared[1].clone();
    let without = |parameter: usize| {
        let entries = [
            (int(1), bytes(&[1; 16])),
            (int(2), bytes(&[2; 16])),
            (int(3), wrap(&digest_item(&[3; 32]))),
            (int(14), int(9)),
        ];
        let entries: Vec<_> = entries
            .into_iter()
            .enumerate()
            .filter(|(at, _)| *at != parameter)
            .map(|(_, entry)| entry)
            .collect();
        body().shared(vec![int(20), map(&entries), int(1), int(15), int(2), int(15)]).sealed()
    };
    let shared = |commands: &[Item]| body().shared(commands.to_vec()).sealed();
    check(&[
        ("no version of SUIT", body().without(1).sealed(), Incomplete),
        ("no sequence number", body().without(2).sealed(), Incomplete),
        ("no common part", body().with(3, wrap(&map(&[]))).sealed(), Incomplete),
        ("no vendor", without(0), Incomplete),
        ("no class", without(1), Incomplete),
        ("no digest", without(2), Incomplete),
        ("no size", without(3), Incomplete),
        ("a vendor that is not asked for", shared(&[int(20), is.clone(), int(2), int(15)]), Incomplete),
        ("a class that is not asked for", shared(&[int(20), is.clone(), int(1), int(15)]), Incomplete),
        ("conditions first", shared(&[int(1), int(15), int(2), int(15), int(20), is]), Incomplete),
        (
            "an image too large to be one",
            {
                let size = map(&[(int(14), int(1 << 32))]);
                shared(&[int(20), size])
            },
            TooLarge,
        ),
    ]);
}

#[test]
fn elements_and_parameters_that_are_not_in_the_subset_are_unsupported() {
    let body = Body::new;
    let shared = |command: i64, argument: Item| {
        let mut commands = body().shared;
        commands.extend([int(command), argument]);
        body().shared(commands).sealed()
    };
    let override_with = |parameter: i64, value: Item| shared(20, map(&[(int(parameter), value)]));
    let components = |identifiers: &[Item]| Body { components: array(identifiers), ..body() }.sealed();
    let identifier = |of: u8| array(&[bytes(&[of])]);
    let version = |numbers: &[Item]| body().with(6, wrap(&array(numbers))).sealed();
    check(&[
        ("another version of SUIT", body().with(1, int(2)).sealed(), Unsupported),
        ("a name of the manifest", body().with(5, array(&[])).sealed(), Unsupported),
        ("load", body().with(8, wrap(&array(&[int(3), int(15)]))).sealed(), Unsupported),
        ("dependency resolution", body().with(15, wrap(&array(&[int(3), int(15)]))).sealed(), Unsupported),
        ("payload fetch", body().with(16, wrap(&array(&[int(3), int(15)]))).sealed(), Unsupported),
        ("uninstall", body().with(24, wrap(&array(&[int(33), int(15)]))).sealed(), Unsupported),
        ("a custom element", body().with(-257, int(0)).sealed(), Unsupported),
        ("no component", components(&[]), Unsupported),
        ("a second component without a use", components(&[identifier(0), identifier(1)]), Unsupported),
        ("three components", components(&[identifier(0), identifier(1), identifier(2)]), Unsupported),
        (
            "dependencies",
            {
                let common = map(&[(int(1), map(&[])), (int(2), array(&[identifier(0)]))]);
                body().with(3, wrap(&common)).sealed()
            },
            Unsupported,
        ),
        ("a component's slot", override_with(5, int(0)), Unsupported),
        ("a device's id", override_with(24, bytes(&[1; 16])), Unsupported),
        ("encryption", override_with(19, bytes(&[])), Unsupported),
        ("content", override_with(18, bytes(&[])), Unsupported),
        ("a custom parameter", override_with(-300, int(0)), Unsupported),
        ("another vendor afterwards", override_with(1, bytes(&[9; 16])), Unsupported),
        ("another image afterwards", override_with(3, wrap(&digest_item(&[9; 32]))), Unsupported),
        ("a vendor by number", shared(20, map(&[(int(1), tag(112, bytes(&[1])))])), Unsupported),
        (
            "a digest of another algorithm",
            override_with(3, wrap(&array(&[int(-44), bytes(&[9; 64])]))),
            Algorithm,
        ),
        ("a try-each in common", shared(15, array(&[wrap(&array(&[int(1), int(15)])), null()])), Unsupported),
        ("run-sequence", shared(32, wrap(&array(&[int(1), int(15)]))), Unsupported),
        ("a device condition", shared(24, int(15)), Unsupported),
        ("use-before at each start", shared(4, int(15)), Unsupported),
        ("abort", shared(14, int(15)), Unsupported),
        ("a custom command", shared(-300, int(0)), Unsupported),
        ("all components", shared(12, yes()), Unsupported),
        ("some components", shared(12, array(&[int(0)])), Unsupported),
        ("a component that is not there", shared(12, int(1)), Unsupported),
        ("a reporting policy of tomorrow", shared(1, int(16)), Unsupported),
        ("a command without its argument", body().shared(vec![int(20)]).sealed(), Malformed),
        ("no command", body().shared(vec![]).sealed(), Malformed),
        ("two numbers of a version", version(&[int(1), int(2)]), Unsupported),
        ("a version before its release", version(&[int(1), int(2), int(-1)]), Unsupported),
        ("a version that no image has", version(&[int(256), int(0), int(0)]), Unsupported),
        ("a command at start", body().with(9, wrap(&array(&[int(20), map(&[])]))).sealed(), Unsupported),
        ("a copy to be compared", body().with(7, wrap(&array(&[int(22), int(15)]))).sealed(), Unsupported),
    ]);
}

#[test]
fn what_installs_the_image_is_taken_or_refused_as_a_whole() {
    let install = |commands: &[Item]| Body::new().install(commands).sealed();
    let two = |commands: &[Item]| Body::new().two_components().install(commands).sealed();
    let uri = |of: &str| [int(20), map(&[(int(21), text(of))])].to_vec();
    let base = |of: u8| [int(20), map(&[(int(3), wrap(&digest_item(&[of; 32])))])].to_vec();
    let [fetch, compare] = [[int(21), int(2)], [int(3), int(15)]].map(|pair| pair.to_vec());
    let [image, running] = [0, 1].map(|index| [int(12), int(index)].to_vec());
    let before = [int(20), map(&[(int(4), int(7))])].to_vec();
    let full = [uri("u"), fetch.clone(), compare.clone()].concat();
    let delta = [running.clone(), base(4), compare.clone(), image.clone(), full.clone()].concat();
    let each = |sequences: &[Vec<Item>]| {
        [int(15), array(&sequences.iter().map(|commands| wrap(&array(commands))).collect::<Vec<_>>())]
            .to_vec()
    };
    let taken = |envelope: &[u8]| judged(envelope).map(|manifest| manifest.sources.len());
    assert_eq!(taken(&two(&delta)), Ok(1));
    assert_eq!(taken(&two(&each(&[delta.clone(), full.clone()]))), Ok(2));
    // Compared after the choice, as the IETF's third example does.
    let halves = [[uri("u"), fetch.clone()].concat(), [uri("v"), fetch.clone()].concat()];
    assert_eq!(taken(&install(&[each(&halves), compare.clone()].concat())), Ok(2));
    assert_eq!(taken(&install(&[before.clone(), vec![int(4), int(15)]].concat())), Ok(0));
    let swap = [int(31), int(15)].to_vec();
    let copy = [[int(20), map(&[(int(22), int(1))])].to_vec(), [int(22), int(2)].to_vec()].concat();
    let cases = [
        ("not compared", install(&[uri("u"), fetch.clone()].concat())),
        ("not compared after a choice", install(&each(&halves))),
        ("an address that nobody asks for", install(&uri("u"))),
        ("a time that nobody asks for", install(&[before.clone(), full.clone()].concat())),
        ("a question for no time", install(&[vec![int(4), int(15)], full.clone()].concat())),
        ("compared before it is fetched", install(&[compare.clone(), full.clone()].concat())),
        ("fetched twice", install(&[full.clone(), uri("v"), fetch.clone(), compare.clone()].concat())),
        ("something afterwards", install(&[full.clone(), swap.clone()].concat())),
        ("a swap", install(&swap)),
        ("a copy", two(&copy)),
        ("written content", install(&[int(18), int(15)])),
        ("run-sequence", install(&[int(32), wrap(&array(&full))])),
        ("fetch arguments", install(&[int(20), map(&[(int(25), bytes(&[]))])])),
        ("waiting", install(&[int(29), int(15)])),
        (
            "a base that is not compared",
            two(&[running.clone(), base(4), image.clone(), full.clone()].concat()),
        ),
        (
            "a base without its digest",
            two(&[running.clone(), compare.clone(), image.clone(), full.clone()].concat()),
        ),
        ("fetching the base", two(&[running.clone(), uri("u"), fetch.clone()].concat())),
        ("another image than the common one", install(&[base(9), full.clone()].concat())),
        ("a base that is no component", install(&delta)),
        ("a choice in a choice", install(&each(&[each(&halves), full.clone()]))),
        (
            "a time in a choice",
            install(&each(&[[before, vec![int(4), int(15)], full.clone()].concat(), full.clone()])),
        ),
        ("a choice that fetches nothing", install(&each(&[uri("u"), full.clone()]))),
        ("a choice to do nothing", install(&[int(15), array(&[wrap(&array(&full)), null()])])),
        ("five sources", install(&each(&vec![full.clone(); 5]))),
    ];
    check(&cases.map(|(name, envelope)| (name, envelope, Unsupported)));
    check(&[
        ("no address", install(&fetch), NoSource),
        ("a choice of one", install(&each(&[full])), Malformed),
        ("nothing", install(&[]), Malformed),
    ]);
}

#[test]
fn a_severed_element_is_the_one_whose_digest_is_signed() {
    let severed = |number: i64, element: &Item, there: Option<&Item>| {
        let digest = digest_item(&sha256(&[element]));
        let parts = Parts::around(&Body::new().with(number, digest).write());
        Parts { severed: there.map(|there| (int(number), there.clone())).into_iter().collect(), ..parts }
            .write()
    };
    let [install] = Body::new()
        .elements
        .into_iter()
        .filter(|(number, _)| *number == 20)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let words = |description| wrap(&map(&[(text("en"), map(&[(int(1), text(description))]))]));
    let [install, said, other] = [install.1, words("said"), words("other")];
    let tag = bytes(&coswid());
    let description = |envelope: &[u8]| judged(envelope).expect("taken").description.map(str::to_owned);
    assert_eq!(judged(&severed(20, &install, Some(&install))).expect("taken").sources.len(), 1);
    assert_eq!(description(&severed(23, &said, Some(&said))), Some("said".into()));
    assert_eq!(judged(&severed(14, &tag, Some(&tag))).expect("taken").sbom, Some(&coswid()[..]));
    // What only people and managing systems need may be gone.
    assert_eq!(description(&severed(23, &said, None)), None);
    assert_eq!(judged(&severed(14, &tag, None)).expect("taken").sbom, None);
    let beside = Parts { severed: vec![(int(23), other.clone())], ..parts() };
    let twice = Parts {
        severed: vec![(int(23), said.clone())],
        ..Parts::around(&Body::new().with(23, said.clone()).write())
    };
    check(&[
        ("no way to install", severed(20, &install, None), Incomplete),
        ("another text", severed(23, &said, Some(&other)), ManifestDigest),
        ("another way to install", severed(20, &install, Some(&said)), ManifestDigest),
        ("a text of which the manifest knows nothing", beside.write(), Unsupported),
        ("a text that is there already", twice.write(), Unsupported),
        ("a text that is no text", severed(23, &install, Some(&install)), Malformed),
        (
            "a text with an unknown number",
            Body::new().with(23, wrap(&map(&[(text("en"), map(&[(int(5), text("x"))]))]))).sealed(),
            Unsupported,
        ),
        ("two tags in one", Body::new().with(14, bytes(&[0, 0])).sealed(), Malformed),
        (
            "a MUD file without a signer",
            Body::new().with(-256, wrap(&map(&[(int(1), suit_cases::cbor::tag(32, text("u")))]))).sealed(),
            Incomplete,
        ),
        (
            "a MUD file's address that is none",
            Body::new().with(-256, wrap(&map(&[(int(1), suit_cases::cbor::tag(33, text("u")))]))).sealed(),
            Unsupported,
        ),
    ]);
}
