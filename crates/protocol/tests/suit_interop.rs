//! Manifests against cbor2 and pycose, which know nothing of this project, both ways. The packages come from
//! `cargo xtask test packages`.

mod python;
mod samples;
mod suit_cases;

use protocol::image::Version;
use protocol::suit::{Manifest, Source};
use protocol::{KeyId, UpdateFault};
use samples::{key, public};
use serde_json::{Value, json};
use suit_cases::{URI, fullest, judged, release, sealed, signer, smallest};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn from_hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hex");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn answers(requests: &[Value]) -> Vec<Value> {
    let input = requests.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let answers: Vec<Value> = python::answers("interop/suit.py", &input)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an answer"))
        .collect();
    assert_eq!(answers.len(), requests.len());
    answers
}

/// What an interpreter of SUIT does with a source: compare what runs, fetch, compare.
fn tried(manifest: &Manifest<'_>, source: &Source<'_>) -> Vec<Value> {
    let mut log: Vec<_> = source.base.iter().map(|base| json!([3, 1, hex(base)])).collect();
    log.extend([json!([21, 0, source.uri]), json!([3, 0, hex(&manifest.image.digest)])]);
    log
}

/// What cbor2 and pycose find in a manifest of ours.
fn expected(manifest: &Manifest<'_>) -> Value {
    let with_base = manifest.sources.iter().any(|source| source.base.is_some());
    let digest = hex(&manifest.image.digest);
    let mut all = json!({
        "verified": true, "digest": true, "canonical": true, "kid": hex(&public(&signer()).id().0),
        "version": 1, "sequence": manifest.sequence, "size": manifest.image.size,
        "components": if with_base { json!([["00"], ["01"]]) } else { json!([["00"]]) },
        "shared": [[1, 0, hex(&manifest.vendor.0)], [2, 0, hex(&manifest.class.0)]],
        "validate": [[3, 0, digest]], "invoke": [[23, 0, null]],
    });
    let mut install: Vec<_> = manifest.use_before_s.iter().map(|time| json!([4, 0, time])).collect();
    let sources: Vec<_> = manifest.sources.iter().map(|source| json!(tried(manifest, source))).collect();
    if !sources.is_empty() {
        install.push(json!(["try", sources]));
        all["install"] = json!(install);
    }
    if let Some(version) = manifest.version {
        all["set_version"] = json!([version.major, version.minor, version.revision]);
    }
    if let Some(uri) = manifest.reference_uri {
        all["reference"] = json!(uri);
    }
    if let Some(words) = manifest.description {
        all["text"] = json!({"en": {"1": words}});
    }
    if let Some(mud) = manifest.mud {
        all["mud"] = json!([32, mud.url, -16, hex(&mud.signer.0)]);
    }
    if manifest.sbom.is_some() {
        all["coswid"] = json!({
            "id": "07".repeat(16), "software": "secure-sensor", "maker": "Sensor Makers", "roles": [1, 2],
            "link": [32, "https://sensor.example/sbom/1.2.3.spdx.json", "describedby"],
            "tag_version": 0, "version": "1.2.3",
        });
    }
    all
}

#[test]
fn cbor2_and_pycose_find_in_our_manifests_what_was_sealed() {
    let manifests = [smallest(), release(), fullest()];
    let key = hex(public(&signer()).as_bytes());
    let request = |manifest| json!({"do": "read", "envelope": hex(&sealed(manifest)), "key": key});
    let requests: Vec<_> = manifests.iter().map(request).collect();
    for (answer, manifest) in answers(&requests).iter().zip(&manifests) {
        assert_eq!(*answer, expected(manifest));
    }
    // With another key it is not verified, and nothing else changes.
    let another = json!({"do": "read", "envelope": hex(&sealed(&release())), "key": hex(public(&key_of_others()).as_bytes())});
    let mut refused = expected(&release());
    refused["verified"] = json!(false);
    assert_eq!(answers(&[another]), [refused]);
}

fn key_of_others() -> p256::ecdsa::SigningKey {
    key(78)
}

#[test]
fn manifests_that_cbor2_and_pycose_made_are_taken_in_deterministic_encoding_alone() {
    let signer = signer();
    let id: KeyId = public(&signer).id();
    let request = json!({
        "do": "make", "key": hex(public(&signer).as_bytes()), "scalar": hex(&signer.to_bytes()), "kid": hex(&id.0),
        "vendor": "01".repeat(16), "class": "02".repeat(16), "digest": "03".repeat(32), "base": "04".repeat(32),
        "size": 123_456, "uri": URI, "use_before": 1_800_000_000_u64, "sequence": 12, "version": [1, 2, 3],
        "description": "Something new",
    });
    let manifest = Manifest {
        use_before_s: Some(1_800_000_000),
        description: Some("Something new"),
        version: Some(Version::new(1, 2, 3)),
        ..release()
    };
    let [answer] = answers(&[request]).try_into().expect("one answer");
    for name in ["named", "unnamed", "severed"] {
        assert_eq!(judged(&from_hex(&answer[name])).as_deref(), Ok(&manifest), "{name}");
    }
    let without_text = Manifest { description: None, ..manifest };
    assert_eq!(judged(&from_hex(&answer["without text"])).as_deref(), Ok(&without_text));
    assert_eq!(judged(&from_hex(&answer["disordered"])).map(drop), Err(UpdateFault::Malformed));
}
