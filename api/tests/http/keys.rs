use reelmill_api::{Keys, Scope, document};
use reelmill_common::Sha256;
use reqwest::Method;
use serde_json::Value;

use crate::fixture::{Options, Service, client, problem};

/// One key for each scope, named like it and with a secret made of its name.
fn keys() -> Keys {
    let mut text = String::new();
    for scope in Scope::ALL {
        let (word, digest) = (scope.as_str(), Sha256::of(secret(scope).as_bytes()));
        text +=
            &format!("[[key]]\nname = \"{word}\"\nsha256 = \"{digest}\"\nscopes = [\"{word}\"]\n");
    }
    Keys::parse(&text).unwrap()
}

fn secret(scope: Scope) -> String {
    format!("the-secret-of-{}", scope.as_str())
}

async fn guarded() -> Service {
    Service::with(Options {
        change: Box::new(|api| api.keys = Some(keys())),
        ..Options::default()
    })
    .await
}

/// Every route of the document with the scope that it wants.
fn routes() -> Vec<(Method, String, Option<String>)> {
    let document = document();
    let mut routes = vec![];
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array();
            let security =
                security.unwrap_or_else(|| panic!("{method} {path} says nothing of keys"));
            let scope = security[0]["key"][0].as_str().map(str::to_owned);
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            routes.push((method, path.clone(), scope));
        }
    }
    routes
}

/// What says that a request was let in: it names nothing that is there.
fn is_let_in(status: u16) -> bool {
    status != 401 && status != 403
}

#[tokio::test]
async fn every_route_wants_the_scope_that_its_description_says() {
    let service = guarded().await;
    let routes = routes();
    assert!(routes.len() >= 20, "{}", routes.len());
    for (method, template, scope) in routes {
        let path = template.replace("{id}", "a").replace("{path}", "hls/a.mp4");
        let request = || service.client.request(method.clone(), service.url(&path));
        let bare = request().send().await.unwrap();
        assert_eq!(
            is_let_in(bare.status().as_u16()),
            scope.is_none(),
            "{method} {path}"
        );
        if scope.is_some() {
            assert_eq!(
                bare.headers()["www-authenticate"],
                "Bearer realm=\"reelmill\""
            );
        }
        let wrong = request().bearer_auth("not-a-key").send().await.unwrap();
        assert_eq!(wrong.status() == 401, scope.is_some(), "{method} {path}");
        for key in Scope::ALL {
            let answer = request().bearer_auth(secret(key)).send().await.unwrap();
            let status = answer.status().as_u16();
            let may = key == Scope::Admin || scope.as_deref().is_none_or(|it| it == key.as_str());
            assert_eq!(
                is_let_in(status),
                may,
                "{method} {path} by {key:?}: {status}"
            );
            if !may {
                assert_eq!(status, 403, "{method} {path} by {key:?}");
            }
            let answer = request()
                .header("X-Api-Key", secret(key))
                .send()
                .await
                .unwrap();
            assert_eq!(
                answer.status().as_u16(),
                status,
                "{method} {path} by {key:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_open_routes_are_those_and_no_others() {
    let open: Vec<String> = routes()
        .into_iter()
        .filter(|(_, _, scope)| scope.is_none())
        .map(|(method, path, _)| format!("{method} {path}"))
        .filter(|route| !route.starts_with("OPTIONS"))
        .collect();
    assert_eq!(
        open,
        ["GET /", "GET /livez", "GET /openapi.json", "GET /readyz"]
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_said() {
    let service = guarded().await;
    let get = || service.get("/v1/jobs");
    problem(get().send().await.unwrap(), 401, "key-missing").await;
    let basic = get().basic_auth("user", Some(secret(Scope::Read)));
    problem(basic.send().await.unwrap(), 401, "key-missing").await;
    problem(
        get().bearer_auth("").send().await.unwrap(),
        401,
        "key-missing",
    )
    .await;
    let almost = format!("{}x", secret(Scope::Read));
    problem(
        get().bearer_auth(almost).send().await.unwrap(),
        401,
        "key-unknown",
    )
    .await;
    let sentence = problem(
        get()
            .bearer_auth(secret(Scope::Submit))
            .send()
            .await
            .unwrap(),
        403,
        "key-scope",
    )
    .await;
    assert_eq!(sentence, "the key `submit` lacks the scope `read`");
    let lower = get().header("Authorization", format!("bearer {}", secret(Scope::Read)));
    assert_eq!(lower.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_method_that_a_route_lacks_needs_no_key_to_be_refused() {
    let service = guarded().await;
    let answer = service
        .client
        .patch(service.url("/v1/jobs/a"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn one_key_may_do_everything() {
    let service = Service::with(Options {
        change: Box::new(|api| api.keys = Some(Keys::single("a-long-enough-secret").unwrap())),
        ..Options::default()
    })
    .await;
    service.running("a").await;
    let delete = service.client.delete(service.url("/v1/jobs/a"));
    let answer = delete
        .bearer_auth("a-long-enough-secret")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let described: Value = service.json("/openapi.json").await;
    assert!(described["paths"]["/v1/jobs"]["get"]["security"].is_array());
}

/// Two callers who choose the same idempotency key do not mean the same request.
#[tokio::test]
async fn idempotency_keys_are_the_callers_own() {
    let service = guarded().await;
    let put = async |scope: Scope| {
        let request = client().put(service.url("/v1/jobs?profile=h264-1080p"));
        let request = request.bearer_auth(secret(scope)).body("no media");
        let answer = request.header("idempotency-key", "1").send().await.unwrap();
        assert_eq!(answer.status(), 202);
        let job: Value = answer.json().await.unwrap();
        job["id"].as_str().unwrap().to_owned()
    };
    let first = put(Scope::Submit).await;
    assert_ne!(put(Scope::Admin).await, first);
    assert_eq!(put(Scope::Submit).await, first);
}
