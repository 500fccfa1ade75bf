//! Making and removing the objects of a key.

use cryptoki::mechanism::Mechanism;
use vault::{Algorithm, Error, Kind};

use crate::desk::{Bench, is_about_the_template};
use crate::errors::Trouble;
use crate::quirks::X25519Route;
use crate::template::{self, Naming};

type Done<T> = std::result::Result<T, Trouble>;

/// Makes the objects: on the token, or for as long as the session lives. They are found by their id ([`crate::keys`]) and not by
/// the handles that the token answers with: one that it got wrong would be another key's. With `lean` in reserve, a token that does not
/// take the whole template gets what it has to take; what it then states is checked all the same.
pub(crate) fn objects(
    bench: &mut Bench<'_>,
    algorithm: Algorithm,
    naming: &Naming<'_>,
    token: bool,
    lean_in_reserve: bool,
) -> Done<()> {
    let by = match algorithm {
        Algorithm::EcdsaP256 | Algorithm::EcdhP256 => Mechanism::EccKeyPairGen,
        Algorithm::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
        Algorithm::X25519 => bench.x25519().ok_or_else(unsupported)?.mechanism(),
        Algorithm::Aes256Gcm => Mechanism::AesKeyGen,
        _ => return Err(unsupported().into()),
    };
    let mut last = None;
    for lean in [false, true] {
        if lean && !lean_in_reserve {
            break;
        }
        for spelling in 0.. {
            let Some(made) = once(bench, &by, algorithm, naming, token, lean, spelling) else { break };
            match made {
                Err(trouble) if is_about_the_template(&trouble) => {
                    bench.renew_session();
                    last = Some(trouble);
                }
                other => return other,
            }
        }
    }
    Err(last.unwrap_or_else(|| unsupported().into()))
}

/// One try. `None` when there is no such spelling of the curve.
fn once(
    bench: &mut Bench<'_>,
    by: &Mechanism<'_>,
    algorithm: Algorithm,
    naming: &Naming<'_>,
    token: bool,
    lean: bool,
    spelling: usize,
) -> Option<Done<()>> {
    let secret_half = template::secret_half(algorithm, naming, token, lean);
    let public_half = template::public_half(algorithm, naming, token, lean, spelling);
    if public_half.is_none() && (algorithm != Algorithm::Aes256Gcm || spelling > 0) {
        return None;
    }
    Some(bench.in_turn(|bench| {
        let session = bench.session()?;
        Ok(match public_half {
            Some(public_half) => session.generate_key_pair(by, &public_half, &secret_half).map(drop),
            None => session.generate_key(by, &secret_half).map(drop),
        }?)
    }))
}

/// An X25519 key that lives as long as its session, made this way: whether a token can.
pub(crate) fn by_route(bench: &mut Bench<'_>, route: X25519Route, naming: &Naming<'_>) -> Done<()> {
    once(bench, &route.mechanism(), Algorithm::X25519, naming, false, true, 0)
        .unwrap_or_else(|| Err(unsupported().into()))
}

fn unsupported() -> Error {
    Error::new(Kind::Unsupported, "the token has no such keys")
}
