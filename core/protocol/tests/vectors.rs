//! The worked vectors of the specification (§18, §19): whole encodings made by Tahoe-LAFS 1.20 and zfec
//! 1.6, checked to the byte. Plaintext byte i of the lettered ones is (7·i + 13) mod 251.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::ops::Range;

use protocol::cap::{Cap, ReadCap};
use protocol::codec::Codec;
use protocol::crypt::Cipher;
use protocol::encode::{Encoded, KeySource, Params, Secret, encode};
use protocol::hash_tree::HashTree;
use protocol::layout::{Layout, Version, parse_share_chain};
use protocol::ueb::Ueb;
use protocol::{Hash, Key};
use sha2::{Digest, Sha256};

const AAAA: &[u8] = &[b'a'; 16];

fn plaintext(len: u64) -> Vec<u8> {
    (0..len).map(|i| ((7 * i + 13) % 251) as u8).collect()
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex(Sha256::digest(bytes))
}

/// What §19 gives of a vector; what it leaves out is empty.
#[derive(Default)]
struct Vector {
    len: u64,
    k: u32,
    n: u32,
    max: u64,
    key: Option<KeySource<'static>>,
    version: Option<Version>,

    plaintext: &'static str,
    cap: &'static str,
    verify_cap: &'static str,
    key_and_index: [&'static str; 2],
    segment_size: u64,
    codec_params: [&'static str; 2],
    ueb_hash: &'static str,
    ueb: &'static str,
    crypttext_hash: &'static str,
    crypttext_root: &'static str,
    share_root: &'static str,
    offsets: &'static [u64],
    share_len: usize,
    shares: &'static [(usize, &'static str)],
    concat: &'static str,
}

const fn convergent(secret: &'static [u8]) -> Option<KeySource<'static>> {
    Some(KeySource::Convergent(Secret(secret)))
}

impl Vector {
    fn encode(&self) -> Encoded {
        let params = Params { k: self.k, n: self.n, max_segment_size: self.max };
        encode(&plaintext(self.len), params, self.key.unwrap(), self.version).unwrap()
    }

    /// Compares everything given; returns the encoding for what is particular to one vector.
    fn check(self) -> Encoded {
        let made = self.encode();
        let cap = made.cap;
        same("plaintext", self.plaintext, sha256(plaintext(self.len)));
        same("cap", self.cap, cap.to_string());
        assert_eq!(self.cap.parse(), Ok(Cap::Read(cap)));
        same("verify cap", self.verify_cap, cap.verify_cap().to_string());
        same("key", self.key_and_index[0], hex(cap.key.0));
        same("storage index", self.key_and_index[1], hex(cap.storage_index().0));
        same("UEB hash", self.ueb_hash, hex(cap.ueb_hash));

        let (layout, ueb) = dissect(&made.shares[0], &cap);
        let parsed = Ueb::parse_authentic(ueb, &cap.ueb_hash).unwrap();
        let file = parsed.verify(cap.size, cap.k, cap.n).unwrap();
        same("UEB", self.ueb, sha256(ueb));
        same("codec params", self.codec_params[0], String::from_utf8(parsed.codec_params.unwrap()).unwrap());
        same("tail", self.codec_params[1], String::from_utf8(parsed.tail_codec_params.unwrap()).unwrap());
        same("crypttext hash", self.crypttext_hash, hex(parsed.crypttext_hash.unwrap()));
        same("crypttext root", self.crypttext_root, hex(parsed.crypttext_root_hash));
        same("share root", self.share_root, hex(parsed.share_root_hash));
        assert!(self.segment_size == 0 || self.segment_size == file.segment_size);

        assert!(self.offsets.is_empty() || self.offsets == offsets(&layout));
        assert_eq!(Layout::plan(&file, self.version), Ok(layout), "the layout follows from the sizes");
        assert_eq!(made.shares.len(), self.n as usize);
        for share in &made.shares {
            assert!(self.share_len == 0 || self.share_len == share.len());
            assert_eq!(layout.share_len(ueb.len() as u64), Ok(share.len() as u64));
        }
        for (number, digest) in self.shares {
            same(&format!("share {number}"), digest, sha256(&made.shares[*number]));
        }
        same("all shares", self.concat, sha256(made.shares.concat()));
        made
    }
}

fn same(what: &str, expected: &str, got: String) {
    assert!(expected.is_empty() || expected == got, "{what}: expected {expected}, got {got}");
}

/// A share's layout and URI extension block, found the way a reader finds them.
fn dissect<'a>(share: &'a [u8], cap: &ReadCap) -> (Layout, &'a [u8]) {
    let layout = Layout::parse(share).unwrap();
    let bytes = |range: Range<u64>| &share[range.start as usize..range.end as usize];
    let len = layout.parse_ueb_length(bytes(layout.ueb_length().unwrap())).unwrap();
    let ueb = bytes(layout.ueb(len).unwrap());
    assert_eq!(protocol::hash::ueb(ueb), cap.ueb_hash);
    (layout, ueb)
}

fn offsets(layout: &Layout) -> [u64; 6] {
    [
        layout.data,
        layout.plaintext_hash_tree,
        layout.crypttext_hash_tree,
        layout.block_hashes,
        layout.share_hashes,
        layout.uri_extension,
    ]
}

#[test]
fn vector_a() {
    Vector {
        len: 56,
        k: 1,
        n: 1,
        max: 131072,
        key: convergent(b""),
        plaintext: "c657518e9d330e73c64d91cd2763ffd1442f9a45308e711a3cd5caae6ae41ed6",
        cap: "URI:CHK:lik56ssvhrmtlbv5x4mg7hlnyy:5crw2evsncjm4znfpoiumjahs6ji5a4mhkruiejrazb2xbcz6sma:1:1:56",
        key_and_index: ["5a15df4a553c593586bdbf186f9d6dc6", "36a030d5747aa86bdda19f04c4608686"],
        segment_size: 56,
        codec_params: ["56-1-1", "56-1-1"],
        ueb_hash: "e8a36d12b26892ce65a57b9146240797928e838c3aa34411310643ab8459f498",
        crypttext_hash: "d320bae95ed2d1a00a911ffd12edf1af636a2ac10c6b706a90d82d3de6c939da",
        crypttext_root: "c261f38feb01d70839989162db6e4bf2dd495744953b45e841ad68889e3c2eac",
        share_root: "c182c722d8292d747e811884078d853a0c5a94775f8ad3b4332c774b4f7018cd",
        offsets: &[36, 92, 124, 156, 188, 222],
        share_len: 531,
        shares: &[(0, "921f68115d04b9edda77159d5fff74b40dc2f38e863cbc930a8975e5cbb519db")],
        ..Vector::default()
    }
    .check();
}

#[test]
fn vector_b() {
    Vector {
        len: 300,
        k: 3,
        n: 10,
        max: 128,
        key: convergent(AAAA),
        plaintext: "223c6b14e9172252d26e0f4cc61c760e91cddbe8b27105caa0e255f4d75e61a2",
        cap: "URI:CHK:znev2ufva6ohrdeaguvskqwvfe:qderd4wyjgdohymst47fd3pqgdtoc2fgukcb5bs4hgcrmprgw36q:3:10:300",
        verify_cap: "URI:CHK-Verifier:dioo322efou2of5qb2xad6ozmy:qderd4wyjgdohymst47fd3pqgdtoc2fgukcb5bs4hgcrmprgw36q:3:10:300",
        key_and_index: ["cb495d50b5079c788c80352b2542d529", "1a1cedeb442ba9a717b00eae01f9d966"],
        segment_size: 129,
        codec_params: ["129-3-10", "42-3-10"],
        ueb_hash: "80c911f2d84986e3e1929f3e51edf030e6e168a6a2841e865c3985163e26b6fd",
        ueb: "ee2449fe6806f0f2948955fb227104554d0b6abc36bbe65feed351a5b5b3ac15",
        crypttext_hash: "5a849ad667e493f938b5037dfad3c6cae73bc558ca29afabe2359b6815c31000",
        crypttext_root: "11daadafc87fed6d86cd8d1d44e3956fe1ba7215425c1784da3d02527628676a",
        share_root: "9bd1d6371af3f07f37a914fbe39fe697f2aec0ff1f9d576882f7e79c998cae60",
        share_len: 1293,
        shares: &[(0, "d1b14119233bb07a3be1cd1a291fcd26c78a28487f2536f2a58861765e77cef8"), (1, "a69edb7659caa608e986437dc9f7bf345b6fc6d5b7faee7315a526f63da76b24"), (2, "7bf314b564988a8c187e45c58fd7ffed08ec4d4581e24f196d8b555e675eee0c"), (3, "572425aeb0ac2c6304dc6d1d8fc49a1a47839027c717b55214b0c68474fd1683"), (4, "71450eedfc09f1ca3c167457404359b392f4fc2fe4df6b1f4dd14a8165093a86"), (5, "58a6dd1a2c95d425c4cb93184ea78cd696b8a27b49c36fab41c52c93bf637197"), (6, "e804422926e93e5d022e3c9409eafb0bba36532b199f3c9d1eb72f2dfbb7ac53"), (7, "d497c09d1f9b8e7fa2a426f3621e9df6b9aac3f4bc14f34e7688309f976d9063"), (8, "ad58d7217222a72139f00d185cf1133917fc05bdd010b90de8cabeb8331ab21a"), (9, "eeb8ac0333fec28d16fa1524556eed73c7219b6c1649c00608dbf73846ff448c")],
        concat: "9251a4e18ffb5362e2907fdf5d6d4299465536a3260b1917fb3c8918df18ac1c",
        ..Vector::default()
    }
    .check();
}

#[test]
fn vector_b2() {
    Vector {
        len: 300,
        k: 3,
        n: 10,
        max: 128,
        key: convergent(AAAA),
        version: Some(Version::V2),
        cap: "URI:CHK:znev2ufva6ohrdeaguvskqwvfe:qderd4wyjgdohymst47fd3pqgdtoc2fgukcb5bs4hgcrmprgw36q:3:10:300",
        offsets: &[68, 168, 392, 616, 840, 1010],
        share_len: 1329,
        shares: &[(0, "eb51cf90ee30938efa677d5fa616c0b6cc4ba68d35ac7bd51d1ebcd3864a4a01"), (9, "36f132d74dc8c8796dbbe2db9a6690143bc381e128502d8bd7e7d81abb3328c2")],
        concat: "c1fc373f914f02172f06f9406f4a1e5a46c57eae9133fcd5ffed278e99a6f221",
        ..Vector::default()
    }
    .check();
}

#[test]
fn vector_c() {
    Vector {
        len: 1000,
        k: 2,
        n: 3,
        max: 100,
        key: convergent(b"convergence-test"),
        plaintext: "ef15a258b533a53fc637ade076404bbabb723a313303cbcc69618e4527b9c483",
        cap: "URI:CHK:pghamca4zg57hd6woivxy247pu:2hvz42bbz543w35b3f5gvdnnv7xpwvct3lzow3adrxhig4ubljpq:2:3:1000",
        key_and_index: ["798e06081cc9bbf38fd6722b7c6b9f7d", "72db8c24299683fb3d9b331301c7b6d7"],
        ueb_hash: "d1eb9e6821cf79bb6fa1d97a6a8dadafeefb5453daf2eb6c038dce8372815a5f",
        crypttext_hash: "b15f6fbef8d68977793e50139fdbd0eecb9aa481ea8fea1b4f351a14e0c34ef9",
        crypttext_root: "6436e42d4a0aff142c658981fcc25ddbc4ade12146d66dd4d22de2d945c250fa",
        share_root: "0ba7dee66b8266f3946653eab2a0ec0e0bdbe2c68423d5bd5ac25d0984b8dc3d",
        offsets: &[36, 536, 1528, 2520, 3512, 3614],
        share_len: 3929,
        shares: &[(0, "e8885745afec6665043fca08057cba89589e04cead839faeda527bd68f950e03"), (1, "269e4e086304e327e919b11c78097344526dc01cb0a11a070cdbc9229967f568"), (2, "20c09b0fc0c7f32b636dd5bf3006e657e3b388cc046a26278120701edaf4196e")],
        ..Vector::default()
    }
    .check();
}

#[test]
fn vector_d() {
    Vector {
        len: 5000,
        k: 3,
        n: 10,
        max: 1048576,
        key: convergent(AAAA),
        plaintext: "9baaca6536097792eb5471a167a1dc441e4a90c07184d563cb596293ee4111b3",
        cap: "URI:CHK:ltlhnm4ezogcpcsye25orxe6ba:fjasjf4wd3azr5afxfsmkshd5fnbrcd6qulgzry4mvnya46zliiq:3:10:5000",
        key_and_index: ["5cd676b384cb8c278a5826bae8dc9e08", "5e79128e4e2bb357662da58b5c252410"],
        segment_size: 5001,
        ueb_hash: "2a412497961ec198f405b964c548e3e95a18887e85166cc71c655b8073d95a11",
        crypttext_root: "464dc2fa8bee857d840a12a488f02b6467cc5256549b0663f18fc41fb1a858b4",
        share_root: "9fc044bbd6afbfb72d45ad2ebb7ca7e29ac0d894dc4f15cff239c3a1ba4bba5d",
        share_len: 2289,
        shares: &[(0, "308aafbf288453f6dc381bcd44ded0f9527fbb9ed74d70ae39ef8ca23841278b"), (9, "db760d088c52e54de8dfc4705644615ae027ecb51661555cdb432c258534ef99")],
        concat: "79235d2ffb1992725f5fd43aa2e2e710311aed0dc96eeb2561b5af0ebb2a0b32",
        ..Vector::default()
    }
    .check();
}

#[test]
fn vector_e() {
    Vector {
        len: 2049,
        k: 5,
        n: 7,
        max: 512,
        key: convergent(b""),
        plaintext: "ff9761eac2b11065b90e5567e419255c1bb891d85bf37549216e69c1e3739d18",
        cap: "URI:CHK:hemvzubtov7nuurvclubvy6qxy:6sjxzpq364owcgfsotrgriag2y22hgrgjojoz6tnezweyyhqmhfa:5:7:2049",
        segment_size: 515,
        ueb_hash: "f4937cbe1bf71d6118b274e268a006d635a39a264b92ecfa6d266c4c60f061ca",
        crypttext_root: "10f2084dbbeb0e5c32232bcf296d4d3cd2032c9d524df8504f7ea6c5082c73e6",
        share_root: "76d2ec63738106b9d5cba22a9ccaa64fa473fd98cd143e672563cd21a7355f49",
        share_len: 1568,
        shares: &[(0, "f9def19728d91548ade66753a9b90af4d4a281eff1bac456ddafd3abacd53b68"), (6, "f13aa0f661fbef0e128118a680ac5f76d3558e0320269d9a7ccfcb8b5c497e90")],
        concat: "7182b4014674aed254564618e97208081678b4f9832998f154c42d77303f1a81",
        ..Vector::default()
    }
    .check();
}

#[test]
fn vector_f() {
    Vector {
        len: 255,
        k: 1,
        n: 3,
        max: 64,
        key: convergent(b"x"),
        cap: "URI:CHK:px4dpmcttc6ez5zwxxtpgknqdm:hmjomihd5hpdbiludasocmsolkv37mpuabu4z3pm7gamthvz2hrq:1:3:255",
        ueb_hash: "3b12e620e3e9de30a1741824e1324e5aabbfb1f40069ccedecf980c99eb9d1e3",
        share_root: "6f8643fdd77337cf484c9cfffc9a315edb93e7e7390ab7746dd5c5dea79e2bd1",
        share_len: 1375,
        shares: &[(0, "ad70dcac59b8b84c86a8d7657b3806d3295b72ac5cc9e23c65ba00ac2ebceabc"), (1, "ad70dcac59b8b84c86a8d7657b3806d3295b72ac5cc9e23c65ba00ac2ebceabc"), (2, "4798bbd60b227e4721cf847eb8c89811bfdcd43e886b95d7f8d2381fdd560879")],
        ..Vector::default()
    }
    .check();
}

#[test]
fn vector_g() {
    Vector {
        len: 400,
        k: 25,
        n: 100,
        max: 131072,
        key: convergent(AAAA),
        cap: "URI:CHK:pygvpfp72w7vlijhhicqejmabm:gy7abcg57pyjxha4u6crse6mf45lyzyuyjmgoz2xujlqjcbzcfdq:25:100:400",
        ueb_hash: "363e0088ddfbf09b9c1ca7851913cc2f3abc6714c258676757a2570488391147",
        share_root: "881a5bc956e4752c2a1b026048718132b02297aafa1734acd750f02ed6127650",
        share_len: 744,
        shares: &[(0, "e9577266b50297d841b9566a959bb40c9efe881f78358307215d0c4683dfc7ff"), (99, "d7069b012280d12ff396d8c75347a22f9f9f2415b18f972d1e191a13c27c0e0e")],
        concat: "994acdd2bd4cf2cade4a05b23e4e6f8315794496cd90524bb2e287a517697644",
        ..Vector::default()
    }
    .check();
}

#[test]
fn vector_h() {
    Vector {
        len: 600,
        k: 4,
        n: 4,
        max: 130,
        key: convergent(AAAA),
        cap: "URI:CHK:4pykwfm3t4sby4czcdulfa7fgq:upyejcjyvlbuaogyywpgg4rkfmx56a2mipg4dqqrwg4v2jt5lpna:4:4:600",
        segment_size: 132,
        ueb_hash: "a3f0448938aac34038d8c59e63722a2b2fdf034c43cdc1c211b1b95d267d5bda",
        share_len: 2040,
        concat: "b1710df323ea65eecf44a9f2a88c9963c948cf06de6d1d185847f430d692e9eb",
        ..Vector::default()
    }
    .check();
}

#[test]
fn vector_r() {
    Vector {
        len: 200,
        k: 2,
        n: 5,
        max: 64,
        key: Some(KeySource::Given(Key(std::array::from_fn(|i| i as u8)))),
        cap: "URI:CHK:aaaqeayeaudaocajbifqydiob4:xboalt6kr5627cpmfp5b5jhzxgd6n65pujt2qvbz2awiqamlu6sa:2:5:200",
        crypttext_hash: "d62ec6a9ae98a7b08fdb9edad03a619bba5cb17f90abe31eab84b0a54ecf108b",
        crypttext_root: "af16efa53a3b471e2b1078ffa7a7eb5655148a22a6c22336998485486e92b2ba",
        share_root: "33be0748f922333a0d69b2817e9cf1ab55713470fb4af92ba3c36219e9c3fc24",
        shares: &[(0, "4e19823c1821fed33bd93177b69cc23179e02fd3367c7dab0c28d0dc38ef450a"), (1, "ef7a2234da4d23ad403225a3fef17e6abd0473b9c22159fc6ca60f7b7bceece9"), (2, "2a8f3242b1ee43771d769b179e522fd5816cb84c85036bdd93346476a00c878e"), (3, "f567d5fca53b9af6313bf253a3d241f09aff931df225420350ccab84c9ced956"), (4, "1659b013a1cea24ada838c6c029b3f152507a8c90edf526c3f9458096e388f7e")],
        ..Vector::default()
    }
    .check();
}

/// The parts of share files that the digests of vector B cover, one by one.
#[test]
fn vector_b_in_detail() {
    let params = Params { k: 3, n: 10, max_segment_size: 128 };
    let made = encode(&plaintext(300), params, convergent(AAAA).unwrap(), None).unwrap();
    let (layout, ueb) = dissect(&made.shares[0], &made.cap);
    let file = Ueb::parse(ueb).unwrap().segmentation(300, 3, 10).unwrap();
    let bytes =
        |share: usize, range: Range<u64>| hex(&made.shares[share][range.start as usize..range.end as usize]);

    let mut ciphertext = plaintext(300);
    Cipher::at(&made.cap.key, 0).apply(&mut ciphertext);
    assert_eq!(sha256(&ciphertext), "3fd2c15b5f15b88b8438b9344f00aacf80e450d031912ecc8cfa0f17c286e2f5");
    assert_eq!(hex(&ciphertext[..16]), "917f90525152bed667a72db0dcfea444");
    assert_eq!(bytes(0, 0..36), "000000010000002b000000640000002400000088000001680000024800000328000003d2");
    assert_eq!(ueb.len(), 311);

    for (share, first, tail) in [
        (
            0,
            "917f90525152bed667a72db0dcfea44417cce8800c3d8c2ccecea3e343e5ecd6d0ebc1df0e8a717dff3517",
            "657d6e890855f5ac5fc7460abba3",
        ),
        (
            3,
            "822397822090d74f34d03a3218c42e927404c884d817fc4bd082f624bba18d62c5e9a5281195223bf848cb",
            "637b3b3d3505b6a445c4bb1d441a",
        ),
        (
            9,
            "197c7677410c0a7dd57e505f248e962852b5b0059094d1b23770749aa5253b189ced7a718500ba2a5b9ab4",
            "241cb1ea160be0de2b0241f0d557",
        ),
    ] {
        assert_eq!(bytes(share, layout.block(&file, 0).unwrap().unwrap()), first);
        assert_eq!(bytes(share, layout.block(&file, 2).unwrap().unwrap()), tail);
    }
    let leaves = [
        "be92571ccad06aba27350c2235e88f37ed67de926bcf180153d8519344eba611",
        "96d1bba551a82d086d3b40a39b3463bbc90073374fdb17513b17ad1eec3fcc1b",
        "67f141abdee3de520620a705d6c35b25de63d21520f31a61ae9d92fcb2c80dbe",
    ];
    for (node, leaf) in (3..).zip(leaves) {
        assert_eq!(bytes(4, layout.crypttext_tree_node(node).unwrap()), leaf);
    }
    let roots = [
        "29b523c00e47b304a873cca2687844ebf35f82efa635d0c427b83fac576127ae",
        "47e66d053e4a08268c2ffcb21272c347ea3646c365e997b7c03485ce0d0f07ef",
        "e14a45771d05fb22f5b1334a520dd4e2a813e1ec0204950b25fae3251303cdfe",
        "e0b2667ec1e31a77bf390f29d84ac2a1d6bec45bc6810a44bad402df9ded2e47",
        "211782df8d98752d533fee0bc3750d90d151a1235038bac7f8cc05f5fabac73e",
        "13d82007beab451b38757d6fe2109379546d5c2c59b2cc939e42cc9f3baf39c0",
        "dd6494d8ddb547d1356b81404a466d87ca73f4427c38ed525eb2110a55d65f70",
        "f57fbeb1db69db62e90c8a422a8bed5bf07724e61b1ec2c59c16a74d5a974304",
        "57a7b944e0ae58b66d668821884c4ceca0c8f1ded2b0fac2128a013cb6cda536",
        "570f66764083212ac64ecff99817bdd11cf05f69e3710f7f119b702a44717ec6",
    ];
    for (share, root) in roots.into_iter().enumerate() {
        assert_eq!(bytes(share, layout.block_tree_node(0).unwrap()), root);
    }

    let leaves: Vec<Hash> = (0..10)
        .map(|share| made.shares[share][layout.block_hashes as usize..][..32].try_into().unwrap())
        .collect();
    let tree = HashTree::new(&leaves).unwrap();
    let chain =
        parse_share_chain(&made.shares[0][layout.share_hashes as usize..layout.uri_extension as usize]);
    assert_eq!(chain.keys().copied().collect::<Vec<_>>(), [2, 4, 8, 15, 16]);
    for (node, hash) in chain {
        assert_eq!(tree.nodes()[node as usize], hash);
    }
    for (node, hash) in [
        (0, "9bd1d6371af3f07f37a914fbe39fe697f2aec0ff1f9d576882f7e79c998cae60"),
        (1, "d3383a37711f3c0acc4d3d3e081370bcf52674c906e3d5335983ff6f88e37b4a"),
        (2, "f93118348b92d3db6f8f8747c800ab44246d63fa36601f78b43cec25d0b1ba5c"),
        (25, "ad6bdacbc961fbc124653306f5b8e757c4eddb06491b1edb48c68d124466fa15"),
    ] {
        assert_eq!(hex(tree.nodes()[node]), hash);
    }
}

/// The first case of the published test vectors (§18).
#[test]
fn published_vector_1() {
    let params = Params { k: 1, n: 1, max_segment_size: 131072 };
    let made = encode(&[b'a'; 56], params, convergent(AAAA).unwrap(), None).unwrap();
    let cap =
        "URI:CHK:yzxcoagbetwet65ltjpbqyli3m:6b7inuiha2xdtgqzd55i6aeggutnxzr6qfwpv2ep5xlln6pgef7a:1:1:56";
    assert_eq!(made.cap.to_string(), cap);
}

/// The shares of a file give it back, whichever k of them are taken, wherever it is cut.
#[test]
fn what_is_encoded_can_be_read_back() {
    for (size, k, n, max_segment_size) in
        [(1, 1, 1, 1), (1, 3, 10, 128), (300, 3, 10, 128), (999, 25, 100, 64), (513, 256, 256, 512)]
    {
        let params = Params { k, n, max_segment_size };
        let made = encode(&plaintext(size), params, convergent(b"").unwrap(), None).unwrap();
        let (layout, ueb) = dissect(&made.shares[0], &made.cap);
        let file = Ueb::parse(ueb).unwrap().verify(size, k, n).unwrap();
        let codec = Codec::new(k, n).unwrap();
        let mut read = Vec::new();
        for segment in 0..file.segments {
            // The last k shares, and the last k without the very last, in turn.
            let last = n - if n > k { segment as u32 % 2 } else { 0 };
            let range = layout.block(&file, segment).unwrap().unwrap();
            let block =
                |share: u32| made.shares[share as usize].slice(range.start as usize..range.end as usize);
            let blocks: Vec<_> = (last - k..last).map(|share| (share, block(share))).collect();
            let mut ciphertext = codec.decode(&blocks).unwrap();
            let bytes = file.segment_range(segment).unwrap();
            ciphertext.truncate((bytes.end - bytes.start) as usize);
            Cipher::at(&made.cap.key, bytes.start).apply(&mut ciphertext);
            read.extend(ciphertext);
        }
        assert_eq!(read, plaintext(size), "{size} bytes, {k} of {n}");
    }
}
