//! Signed documents against pycose, an independent implementation of COSE, both ways. The packages come from
//! `cargo xtask test packages`.

mod python;
mod samples;

use protocol::document::ContentType;
use protocol::{PublicKey, Refusal};
use samples::{Parts, Size, key_of, public, sealed, verified_as};
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn from_hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hex");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn pycose(requests: &[Value]) -> Vec<Value> {
    let input = requests.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let answers: Vec<Value> = python::answers("interop/cose.py", &input)
        .lines()
        .map(|line| serde_json::from_str(line).expect("an answer"))
        .collect();
    assert_eq!(answers.len(), requests.len());
    answers
}

/// Each content type in both sizes.
fn cases() -> impl Iterator<Item = (ContentType, Size)> {
    ContentType::ALL.into_iter().flat_map(|content_type| Size::BOTH.map(|size| (content_type, size)))
}

fn key(content_type: ContentType) -> PublicKey {
    public(&key_of(content_type.power()))
}

#[test]
fn pycose_verifies_our_documents_of_every_type_and_refuses_them_when_tampered_with() {
    let mut requests = Vec::new();
    let mut expected = Vec::new();
    for (content_type, size) in cases() {
        let bytes = sealed(content_type, size, &key_of(content_type.power()));
        let parts = Parts::of(&bytes);
        let request = |bytes: &[u8]| json!({"do": "verify", "document": hex(bytes), "key": hex(key(content_type).as_bytes())});
        let answer = |verified: bool, payload: &[u8]| {
            json!({
                "verified": verified, "algorithm": "ES256", "content_type": content_type.as_str(),
                "kid": hex(&key(content_type).id().0), "unprotected": 0, "payload": hex(payload),
            })
        };
        requests.push(request(&bytes));
        expected.push(answer(true, &parts.payload));
        let mut tampered = parts;
        *tampered.payload.last_mut().unwrap() ^= 1;
        requests.push(request(&tampered.write()));
        expected.push(answer(false, &tampered.payload));
    }
    assert_eq!(pycose(&requests), expected);
}

#[test]
fn documents_of_every_type_that_pycose_signed_are_believed_in_one_form_and_its_near_misses_are_refused() {
    let cases: Vec<_> = cases().collect();
    let requests: Vec<_> = cases
        .iter()
        .map(|(content_type, size)| {
            let signer = key_of(content_type.power());
            let payload = Parts::of(&sealed(*content_type, *size, &signer)).payload;
            json!({
                "do": "sign", "scalar": hex(&signer.to_bytes()), "key": hex(key(*content_type).as_bytes()),
                "kid": hex(&key(*content_type).id().0), "content_type": content_type.as_str(), "payload": hex(&payload),
            })
        })
        .collect();
    for ((content_type, size), answer) in cases.into_iter().zip(pycose(&requests)) {
        let key = key(content_type);
        let verified = |document: &Value| verified_as(content_type, &from_hex(document), &key).map(drop);
        assert_eq!(verified(&answer["low"]), Ok(()), "{content_type:?}");
        assert_eq!(verified(&answer["high"]), Err(Refusal::Signature), "{content_type:?}");
        // Without anything asked for it is one of the two: the same bytes, whoever signs (RFC 6979).
        assert!([&answer["low"], &answer["high"]].contains(&&answer["plain"]), "{content_type:?}");
        assert_eq!(
            from_hex(&answer["low"]),
            sealed(content_type, size, &key_of(content_type.power())),
            "{content_type:?}: deterministic encoding and deterministic signatures give the same document"
        );
        let near_misses = answer["near_misses"].as_array().expect("a list");
        assert!(near_misses.len() > 15);
        for near_miss in near_misses {
            let [name, document, refusal] = [0, 1, 2].map(|at| &near_miss[at]);
            let expected = Refusal::from_wire(refusal.as_str().unwrap()).expect("a refusal");
            assert_eq!(verified(document), Err(expected), "{content_type:?}: {name}");
        }
    }
}
