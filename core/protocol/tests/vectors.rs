//! Worked vectors.
use protocol::encode::{KeySource, Params, Secret, encode};

fn plaintext(len: u64) -> Vec<u8> {
    (0..len).map(|i| ((7 * i + 13) % 251) as u8).collect()
}

#[test]
fn b() {
    let params = Params { k: 3, n: 10, max_segment_size: 128 };
    let out = encode(&plaintext(300), params, KeySource::Convergent(Secret(&[b'a'; 16])), None).unwrap();
    assert_eq!(
        out.cap.to_string(),
        "URI:CHK:znev2ufva6ohrdeaguvskqwvfe:qderd4wyjgdohymst47fd3pqgdtoc2fgukcb5bs4hgcrmprgw36q:3:10:300"
    );
}
