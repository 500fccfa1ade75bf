//! The bytes of a signed request (RFC 9421): what is covered, the parameters, the signature base, and the headers that carry
//! them. Both sides use it: the client to sign, the server to check. Neither clock nor key is looked at here.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::{ChangeHash, Identifier, Timestamp};
use sfv::{BareItem, Dictionary, FieldType as _, InnerList, ListEntry, Parser};
use sha2::{Digest as _, Sha256};
use vault::{Algorithm, Signature};

use super::fault::Fault;

/// Carries the signature's components and parameters.
pub(crate) const SIGNATURE_INPUT: &str = "signature-input";
/// Carries the signature.
pub(crate) const SIGNATURE: &str = "signature";
/// Carries the digest of the body (RFC 9530).
pub(crate) const CONTENT_DIGEST: &str = "content-digest";
/// Names the authority that the request is meant for.
pub(crate) const AUDIENCE: &str = "ockam-authority";

/// Names what is to be done once (draft-ietf-httpapi-idempotency-key-header).
pub(crate) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What a signature covers: all of it, in any order, and nothing else but an [`IDEMPOTENCY_KEY`] if one is sent. So the key
/// cannot be taken away, exchanged or put in on the way.
const COVERED: [&str; 4] = ["@method", "@target-uri", CONTENT_DIGEST, AUDIENCE];
/// Tells these signatures from those of every other use of RFC 9421.
const TAG: &str = "ockam-kms-v1";
/// The longest that a signature may live, in seconds.
pub(crate) const MAX_LIFE: u64 = 60;

/// What makes a signature one of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Nonce([u8; 16]);

impl Nonce {
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Nonce {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let bytes = STANDARD.decode(text).map_err(|_| Fault::Parameters)?;
        bytes.try_into().map(Self).map_err(|_| Fault::Parameters)
    }
}

/// Whose request key it is, and under which change that key was attested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyId {
    pub(crate) identifier: Identifier,
    pub(crate) change: ChangeHash,
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.identifier, self.change)
    }
}

impl FromStr for KeyId {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        let (identifier, change) = text.split_once(':').ok_or(Fault::Parameters)?;
        let identifier = identifier.parse().map_err(|_| Fault::Parameters)?;
        let id = Self { identifier, change: change.parse().map_err(|_| Fault::Parameters)? };
        // One spelling for one key, so that whatever counts by key id counts it once.
        if id.to_string() == text { Ok(id) } else { Err(Fault::Parameters) }
    }
}

/// The parameters of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) created: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) nonce: Nonce,
    pub(crate) key: KeyId,
    pub(crate) algorithm: Algorithm,
}

/// The values that a signature covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Covered<'a> {
    pub(crate) method: &'a str,
    pub(crate) target_uri: &'a str,
    pub(crate) content_digest: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) idempotency_key: Option<&'a str>,
}

impl<'a> Covered<'a> {
    fn value(&self, component: &str) -> Option<&'a str> {
        match component {
            "@method" => Some(self.method),
            "@target-uri" => Some(self.target_uri),
            CONTENT_DIGEST => Some(self.content_digest),
            AUDIENCE => Some(self.audience),
            IDEMPOTENCY_KEY => self.idempotency_key,
            _ => None,
        }
    }

    /// What is covered, with its value.
    fn lines(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        COVERED.iter().chain(&[IDEMPOTENCY_KEY]).filter_map(move |name| Some((*name, self.value(name)?)))
    }
}

impl Parameters {
    /// The value of `Signature-Input` without its label, as we write it. Every value is of an alphabet without quotes and
    /// backslashes, so none needs escaping. Their order is free; this one is also understood by verifiers that write the
    /// parameters in an order of their own (crate httpsig).
    ///
    /// # Errors
    /// [`Fault::Algorithm`] for a key that cannot sign requests.
    fn to_input(self, covered: &Covered<'_>) -> Result<String, Fault> {
        let covered: Vec<String> = covered.lines().map(|(component, _)| format!("\"{component}\"")).collect();
        Ok(format!(
            "({});created={};expires={};nonce=\"{}\";alg=\"{}\";keyid=\"{}\";tag=\"{TAG}\"",
            covered.join(" "),
            self.created,
            self.expires,
            self.nonce,
            name_of(self.algorithm)?,
            self.key,
        ))
    }
}

/// A signature that is to be made.
#[derive(Debug)]
pub(crate) struct Draft {
    input: String,
    base: Vec<u8>,
}

impl Draft {
    /// # Errors
    /// [`Fault::Algorithm`] for a key that cannot sign requests.
    pub(crate) fn new(parameters: Parameters, covered: &Covered<'_>) -> Result<Self, Fault> {
        let input = parameters.to_input(covered)?;
        let base = base(covered.lines(), &input);
        Ok(Self { input, base })
    }

    /// What is to be signed.
    pub(crate) fn base(&self) -> &[u8] {
        &self.base
    }

    /// The headers `Signature-Input` and `Signature`.
    pub(crate) fn headers(&self, signature: &Signature) -> (String, String) {
        (format!("sig={}", self.input), format!("sig=:{}:", STANDARD.encode(signature.as_bytes())))
    }
}

/// A signature that was received: of the right form, and not checked yet.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) parameters: Parameters,
    covered: Vec<&'static str>,
    input: String,
    signature: [u8; 64],
}

impl Received {
    /// Reads the headers `Signature-Input` and `Signature`.
    ///
    /// # Errors
    /// The first rule of form that is broken.
    pub(crate) fn parse(input: &str, signature: &str) -> Result<Self, Fault> {
        let (label, list) = only_entry(input)?;
        let ListEntry::InnerList(list) = list else { return Err(Fault::Form) };
        let (other_label, value) = only_entry(signature)?;
        let ListEntry::Item(value) = value else { return Err(Fault::Form) };
        if label != other_label || !value.params.is_empty() {
            return Err(Fault::Form);
        }
        let signature = value.bare_item.as_byte_sequence().ok_or(Fault::Form)?;
        let covered = covered(&list)?;
        let parameters = parameters(&list)?;
        // The strict serialisation of what was parsed, parameters in the order they came in (RFC 9421 §2.3).
        let input = vec![ListEntry::InnerList(list)].serialize().ok_or(Fault::Form)?;
        let signature = signature.try_into().map_err(|_| Fault::Signature)?;
        Ok(Self { parameters, covered, input, signature })
    }

    /// What has to have been signed.
    ///
    /// # Errors
    /// [`Fault::Components`] when it covers an idempotency key that did not come, or one came that it does not cover.
    pub(crate) fn base(&self, values: &Covered<'_>) -> Result<Vec<u8>, Fault> {
        if values.idempotency_key.is_some() && !self.covers(IDEMPOTENCY_KEY) {
            return Err(Fault::Components);
        }
        let line = |name: &&'static str| Some((*name, values.value(name)?));
        let lines: Option<Vec<_>> = self.covered.iter().map(line).collect();
        Ok(base(lines.ok_or(Fault::Components)?.into_iter(), &self.input))
    }

    /// Whether the signature is over this component.
    pub(crate) fn covers(&self, component: &str) -> bool {
        self.covered.contains(&component)
    }

    /// The signature itself.
    pub(crate) fn signature(&self) -> Signature {
        match self.parameters.algorithm {
            Algorithm::EcdsaP256 => Signature::EcdsaP256(self.signature),
            _ => Signature::Ed25519(self.signature),
        }
    }
}

/// RFC 9421 §2.5.
fn base<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>, input: &str) -> Vec<u8> {
    let mut base = String::new();
    for (name, value) in lines {
        base.extend(["\"", name, "\": ", value, "\n"]);
    }
    base.extend(["\"@signature-params\": ", input]);
    base.into_bytes()
}

fn only_entry(header: &str) -> Result<(String, ListEntry), Fault> {
    let dictionary: Dictionary = Parser::new(header).parse().map_err(|_| Fault::Form)?;
    let mut entries = dictionary.into_iter();
    match (entries.next(), entries.next()) {
        (Some((label, entry)), None) => Ok((label.as_str().to_owned(), entry)),
        _ => Err(Fault::Form),
    }
}

fn covered(list: &InnerList) -> Result<Vec<&'static str>, Fault> {
    let mut covered = Vec::with_capacity(COVERED.len());
    for item in &list.items {
        let name = item.bare_item.as_string().map(|name| name.as_str()).ok_or(Fault::Components)?;
        let known = COVERED.iter().chain(&[IDEMPOTENCY_KEY]).find(|known| **known == name);
        let known = known.ok_or(Fault::Components)?;
        if !item.params.is_empty() || covered.contains(known) {
            return Err(Fault::Components);
        }
        covered.push(*known);
    }
    if COVERED.iter().all(|known| covered.contains(known)) { Ok(covered) } else { Err(Fault::Components) }
}

fn parameters(list: &InnerList) -> Result<Parameters, Fault> {
    let parameter = |name: &str| list.params.get(name).ok_or(Fault::Parameters);
    let text = |name| parameter(name)?.as_string().map(|text| text.as_str()).ok_or(Fault::Parameters);
    let time = |name| parameter(name).and_then(seconds);
    let parameters = Parameters {
        created: time("created")?,
        expires: time("expires")?,
        nonce: text("nonce")?.parse()?,
        key: text("keyid")?.parse()?,
        algorithm: algorithm_of(text("alg")?)?,
    };
    if text("tag")? != TAG {
        return Err(Fault::Tag);
    }
    if list.params.len() == 6 { Ok(parameters) } else { Err(Fault::Parameters) }
}

fn seconds(item: &BareItem) -> Result<Timestamp, Fault> {
    let number = i64::from(item.as_integer().ok_or(Fault::Parameters)?);
    u64::try_from(number).map(Timestamp).map_err(|_| Fault::Parameters)
}

/// The names of RFC 9421 §6.2.
const ALGORITHMS: [(Algorithm, &str); 2] =
    [(Algorithm::Ed25519, "ed25519"), (Algorithm::EcdsaP256, "ecdsa-p256-sha256")];

fn name_of(algorithm: Algorithm) -> Result<&'static str, Fault> {
    ALGORITHMS.iter().find(|(known, _)| *known == algorithm).map(|(_, name)| *name).ok_or(Fault::Algorithm)
}

fn algorithm_of(name: &str) -> Result<Algorithm, Fault> {
    ALGORITHMS.iter().find(|(_, known)| *known == name).map(|(known, _)| *known).ok_or(Fault::Algorithm)
}

/// The one spelling of a server's URL that both sides sign for: lower case, without the port that goes without saying and
/// without a slash at the end. `None` for what is no such URL.
pub(crate) fn normal_url(url: &str) -> Option<String> {
    let uri: http::Uri = url.trim().parse().ok()?;
    let (scheme, host) = (uri.scheme_str()?, uri.authority()?.as_str().to_ascii_lowercase());
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    if host.contains('@') || uri.query().is_some() || url.contains('#') {
        return None;
    }
    let host = host.strip_suffix(default_port).unwrap_or(&host);
    Some(format!("{scheme}://{host}{}", uri.path().trim_end_matches('/')))
}

/// The header `Content-Digest` of a body.
pub(crate) fn digest_of(body: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(body)))
}

/// Compares a header `Content-Digest` with the body that came. It may name digests by other algorithms beside SHA-256; those
/// are not looked at.
///
/// # Errors
/// [`Fault::Digest`].
pub(crate) fn check_digest(header: &str, body: &[u8]) -> Result<(), Fault> {
    let dictionary: Dictionary = Parser::new(header).parse().map_err(|_| Fault::Digest)?;
    let Some(ListEntry::Item(item)) = dictionary.get("sha-256") else { return Err(Fault::Digest) };
    let digest = item.bare_item.as_byte_sequence().ok_or(Fault::Digest)?;
    if *digest == *Sha256::digest(body) { Ok(()) } else { Err(Fault::Digest) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vault::VerifyingKey;

    /// RFC 9421 appendix B.2.6: the whole base of another message, and its signature by the RFC's own key.
    #[test]
    fn the_base_is_the_one_of_the_rfc() {
        let lines = [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@method", "POST"),
            ("@path", "/foo"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
            ("content-length", "18"),
        ];
        let input = r#"("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#;
        let parsed: sfv::List = Parser::new(input).parse().unwrap();
        let base = base(lines.into_iter(), &parsed.serialize().unwrap());
        let key = hex::decode("26b40b8f93fff3d897112f7ebc582b232dbd72517d082fe83cfb30ddce43d1bb").unwrap();
        let key = VerifyingKey::from_bytes(Algorithm::Ed25519, &key).unwrap();
        let signature = STANDARD
            .decode(
                "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
            )
            .unwrap();
        let signature = Signature::Ed25519(signature.try_into().unwrap());
        assert!(key.verify(&base, &signature).is_ok());
        assert!(key.verify(&base[1..], &signature).is_err());
    }

    /// RFC 9530 appendix D gives the digest of an empty body (it is SHA-256 of nothing, which everybody knows).
    #[test]
    fn a_server_has_one_url() {
        for (url, normal) in [
            ("http://a.example", Some("http://a.example")),
            (" HTTP://A.Example:80/ ", Some("http://a.example")),
            ("https://a.example:443", Some("https://a.example")),
            ("https://a.example:80/Under//", Some("https://a.example:80/Under")),
            ("http://[::1]:8080/", Some("http://[::1]:8080")),
            ("ftp://a.example", None),
            ("a.example", None),
            ("http://me@a.example", None),
            ("http://a.example?q", None),
            ("http://a.example/#top", None),
        ] {
            assert_eq!(normal_url(url).as_deref(), normal, "{url}");
        }
    }

    #[test]
    fn digests_are_of_the_body() {
        assert_eq!(digest_of(b""), "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
        assert!(check_digest(&digest_of(b"a"), b"a").is_ok());
        assert!(check_digest(&format!("sha-512=:AAAA:, {}", digest_of(b"a")), b"a").is_ok());
        let short = "sha-256=:47DEQpj8HBSa:";
        for bad in [
            &digest_of(b"b"),
            "",
            "sha-512=:AAAA:",
            "sha-256",
            "sha-256=\"x\"",
            "sha-256=(:AAAA:)",
            short,
            ";",
        ] {
            assert_eq!(check_digest(bad, b"a"), Err(Fault::Digest), "{bad}");
        }
    }

    fn sample(algorithm: Algorithm) -> Parameters {
        Parameters {
            created: Timestamp(1_790_000_000),
            expires: Timestamp(1_790_000_060),
            nonce: Nonce::from_bytes([7; 16]),
            key: KeyId {
                identifier: Identifier::from_bytes([0xAB; 32]),
                change: ChangeHash::from_str(&"cd".repeat(32)).unwrap(),
            },
            algorithm,
        }
    }

    const VALUES: Covered<'static> = Covered {
        method: "GET",
        target_uri: "http://a/b?c",
        content_digest: "sha-256=:AA==:",
        audience: "I00",
        idempotency_key: None,
    };

    #[test]
    fn what_is_drafted_is_received() {
        for (algorithm, signature) in [
            (Algorithm::Ed25519, Signature::Ed25519([9; 64])),
            (Algorithm::EcdsaP256, Signature::EcdsaP256([9; 64])),
        ] {
            let draft = Draft::new(sample(algorithm), &VALUES).unwrap();
            let (input, header) = draft.headers(&signature);
            let received = Received::parse(&input, &header).unwrap();
            assert_eq!(received.parameters, sample(algorithm));
            assert_eq!(received.base(&VALUES).unwrap(), draft.base());
            assert_eq!(received.signature(), signature);
        }
        assert_eq!(Draft::new(sample(Algorithm::X25519), &VALUES).unwrap_err(), Fault::Algorithm);
    }

    #[test]
    fn an_idempotency_key_is_covered_when_there_is_one() {
        let values = Covered { idempotency_key: Some("\"k\""), ..VALUES };
        let draft = Draft::new(sample(Algorithm::Ed25519), &values).unwrap();
        let base = String::from_utf8(draft.base().to_vec()).unwrap();
        assert!(base.contains("\"ockam-authority\": I00\n\"idempotency-key\": \"k\"\n"), "{base}");
        let (input, header) = draft.headers(&Signature::Ed25519([9; 64]));
        let received = Received::parse(&input, &header).unwrap();
        assert_eq!(received.base(&values).unwrap(), draft.base());
        assert_eq!(received.base(&VALUES), Err(Fault::Components), "taken away on the way");
        assert_ne!(
            received.base(&Covered { idempotency_key: Some("\"l\""), ..VALUES }).unwrap(),
            draft.base()
        );
        let (input, header) =
            Draft::new(sample(Algorithm::Ed25519), &VALUES).unwrap().headers(&Signature::Ed25519([9; 64]));
        let received = Received::parse(&input, &header).unwrap();
        assert!(received.base(&VALUES).is_ok());
        assert_eq!(received.base(&values), Err(Fault::Components), "put in on the way");
    }

    #[test]
    fn the_base_of_a_request_is_as_documented() {
        let draft = Draft::new(sample(Algorithm::Ed25519), &VALUES).unwrap();
        let expected = format!(
            "\"@method\": GET\n\"@target-uri\": http://a/b?c\n\"content-digest\": sha-256=:AA==:\n\
             \"ockam-authority\": I00\n\"@signature-params\": (\"@method\" \"@target-uri\" \"content-digest\" \
             \"ockam-authority\");created=1790000000;expires=1790000060;nonce=\"BwcHBwcHBwcHBwcHBwcHBw==\";\
             alg=\"ed25519\";keyid=\"I{}:{}\";tag=\"ockam-kms-v1\"",
            "ab".repeat(32),
            "cd".repeat(32)
        );
        assert_eq!(String::from_utf8(draft.base().to_vec()).unwrap(), expected);
    }

    #[test]
    fn components_and_parameters_come_in_any_order_and_count_as_they_came() {
        let input = sample(Algorithm::Ed25519).to_input(&VALUES).unwrap();
        let (components, parameters) = input.split_once(')').unwrap();
        let mut parameters: Vec<&str> = parameters.split(';').skip(1).collect();
        parameters.reverse();
        let mut components: Vec<&str> = components[1..].split(' ').collect();
        components.reverse();
        let turned = format!("({});{}", components.join("  "), parameters.join("; "));
        let received =
            Received::parse(&format!("other={turned}"), &format!("other=:{}:", "A".repeat(86) + "=="))
                .unwrap();
        let base = String::from_utf8(received.base(&VALUES).unwrap()).unwrap();
        assert!(base.starts_with("\"ockam-authority\": I00\n\"content-digest\""), "{base}");
        assert!(base.ends_with(&format!("({});{}", components.join(" "), parameters.join(";"))), "{base}");
    }

    #[test]
    fn other_forms_are_refused() {
        let good = format!("sig={}", sample(Algorithm::Ed25519).to_input(&VALUES).unwrap());
        let signature = format!("sig=:{}==:", "A".repeat(86));
        assert!(Received::parse(&good, &signature).is_ok());
        let replaced = |from: &str, to: &str| {
            let bad = good.replace(from, to);
            assert_ne!(bad, good, "{from}");
            bad
        };
        let table = [
            (String::new(), Fault::Form),
            ("sig".to_owned(), Fault::Form),
            ("sig=(".to_owned(), Fault::Form),
            (format!("{good}, other=()"), Fault::Form),
            (good.replacen("sig=", "other=", 1), Fault::Form),
            (replaced("\"@method\" ", ""), Fault::Components),
            (replaced("\"content-digest\" ", ""), Fault::Components),
            (replaced("\"@method\"", "\"@method\" \"@method\""), Fault::Components),
            (replaced("\"@method\"", "\"@method\" \"date\""), Fault::Components),
            (replaced("\"@method\"", "\"@method\";req"), Fault::Components),
            (replaced("\"@method\"", "method"), Fault::Components),
            (replaced("\"@target-uri\"", "\"@path\""), Fault::Components),
            (replaced(";created=1790000000", ""), Fault::Parameters),
            (replaced("=1790000000", "=-1"), Fault::Parameters),
            (replaced("=1790000000", "=1790000000.5"), Fault::Parameters),
            (replaced("=1790000000", "=@1790000000"), Fault::Parameters),
            (replaced(";expires=1790000060", ""), Fault::Parameters),
            (replaced("BwcHBwcHBwcHBwcHBwcHBw==", "BwcHBwcHBwcHBwcHBwc="), Fault::Parameters),
            (replaced("BwcHBwcHBwcHBwcHBwcHBw==", "BwcHBwcHBwcHBwcHBwcHBw"), Fault::Parameters),
            (replaced("BwcHBwcHBwcHBwcHBwcHBw==", "BwcHBwcHBwcHBwcHBwcHBx=="), Fault::Parameters),
            (replaced("keyid=\"Iab", "keyid=\"IAB"), Fault::Parameters),
            (replaced("keyid=\"I", "keyid=\" I"), Fault::Parameters),
            (replaced("keyid=\"I", "keyid=\""), Fault::Parameters),
            (replaced(";tag=", ";why=1;tag="), Fault::Parameters),
            (replaced(";tag=\"ockam-kms-v1\"", ""), Fault::Parameters),
            (replaced("ockam-kms-v1", "ockam-kms-v2"), Fault::Tag),
            (replaced("alg=\"ed25519\"", "alg=\"hmac-sha256\""), Fault::Algorithm),
            (replaced("alg=\"ed25519\"", "alg=\"none\""), Fault::Algorithm),
        ];
        for (input, fault) in &table {
            assert_eq!(Received::parse(input, &signature).unwrap_err(), *fault, "{input}");
        }
        for bad in [
            "",
            "sig=1",
            "sig=()",
            "sig",
            "sig=:AA==:",
            &format!("{signature};x"),
            &format!("{signature}, b=::"),
        ] {
            assert!(Received::parse(&good, bad).is_err(), "{bad}");
        }
    }
}
