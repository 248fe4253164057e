//! Signs a request anew after a header was taken out of it (signature version 4).

use reelmill_faultproxy::http::Message;
use sha2::{Digest, Sha256};

const CONDITION: &str = "if-none-match";

/// Takes the condition out of a request as if the client had never set it; the server checks the
/// signature of what it gets.
pub(super) fn drop_condition(request: &mut Message, access_key: &str, secret_key: &str) {
    if request.header(CONDITION).is_none() {
        return;
    }
    request.headers.retain(|(name, _)| name != CONDITION);
    let authorization = request.header("authorization").unwrap();
    let scope = between(authorization, &format!("Credential={access_key}/"), ",");
    let signed: Vec<&str> = between(authorization, "SignedHeaders=", ",")
        .split(';')
        .filter(|name| *name != CONDITION)
        .collect();
    let signature = sign(request, scope, &signed, secret_key);
    let fresh = format!(
        "AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={}, Signature={signature}",
        signed.join(";")
    );
    for (name, value) in &mut request.headers {
        if name == "authorization" {
            value.clone_from(&fresh);
        }
    }
}

fn sign(request: &Message, scope: &str, signed: &[&str], secret_key: &str) -> String {
    let mut line = request.first.split(' ');
    let (method, target) = (line.next().unwrap(), line.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    let headers: String = signed
        .iter()
        .map(|name| format!("{name}:{}\n", request.header(name).unwrap()))
        .collect();
    let canonical = format!(
        "{method}\n{path}\n{}\n{headers}\n{}\n{}",
        pairs.join("&"),
        signed.join(";"),
        request.header("x-amz-content-sha256").unwrap()
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        request.header("x-amz-date").unwrap(),
        hex::encode(Sha256::digest(canonical))
    );
    let mut key = format!("AWS4{secret_key}").into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part.as_bytes());
    }
    hex::encode(hmac(&key, to_sign.as_bytes()))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap();
    rest.split_once(after).map_or(rest, |(found, _)| found)
}

/// Keys are shorter than a block here.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    let pad = |with: u8| {
        let mut block = [with; BLOCK];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message);
    let outer = Sha256::new().chain_update(pad(0x5c));
    outer.chain_update(inner.finalize()).finalize().to_vec()
}
