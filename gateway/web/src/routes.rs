//! Every page, and what a visitor must be for it. A page that is not in [`ROUTES`] does not exist, and one cannot be in it
//! without its [`Rule`].

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{RawPathParams, State};
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use cardea_api::Secret;
use cardea_framing::LockId;
use zeroize::Zeroizing;

use crate::guard::{Form, Link};
use crate::keeper;
use crate::pages::{self, account, authority, certificate, claim, fleet, pair, passkeys, reset, security};
use crate::pages::{logs, map, radios, system, upstreams};
use crate::session::{Id, Session};
use crate::texts::{self, Texts};
use crate::upload::Upload;
use crate::{Web, assets, live};

/// Who may have a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Anybody: it says nothing about this gateway and changes nothing in it.
    Anyone,
    /// Anybody, as long as nobody has claimed the gateway.
    Unclaimed,
    /// Anybody, once somebody has.
    Claimed,
    /// The owner.
    SignedIn,
    /// The owner, who gave the password not long ago.
    Proved,
}

/// GET answers HEAD as well. A POST with a session carries the session's form token, whatever its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
}

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

pub(crate) struct Route {
    pub(crate) method: Method,
    /// As axum writes it.
    pub(crate) path: &'static str,
    pub(crate) rule: Rule,
    handler: fn(Arc<Web>, Call) -> Answer,
}

macro_rules! routes {
    ($($method:ident $path:literal $rule:ident $handler:path;)*) => {
        pub(crate) const ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            path: $path,
            rule: Rule::$rule,
            handler: |web, call| Box::pin($handler(web, call)),
        },)*];
    };
}

routes! {
    Get  "/assets/{name}"       Anyone    asset;
    Post "/language"            Anyone    account::language;
    Get  "/claim"               Unclaimed claim::page;
    Post "/claim"               Unclaimed claim::submit;
    Get  "/sign-in"             Claimed   account::sign_in_page;
    Post "/sign-in"             Claimed   account::sign_in;
    Get  "/recover"             Claimed   claim::recover_page;
    Post "/recover"             Claimed   claim::recover;
    Get  "/"                    SignedIn  fleet::overview;
    Get  "/locks"               SignedIn  fleet::locks;
    Get  "/locks/{lock}"        SignedIn  fleet::lock;
    Get  "/locks/{lock}/remove" Proved    fleet::remove_page;
    Post "/locks/{lock}/remove" Proved    fleet::remove;
    Get  "/pair"                Proved    pair::page;
    Post "/pair"                Proved    pair::submit;
    Get  "/pair/{lock}"         SignedIn  pair::progress;
    Post "/pair/{lock}/cancel"  SignedIn  pair::cancel;
    Get  "/prove"               SignedIn  account::prove_page;
    Post "/prove"               SignedIn  account::prove;
    Get  "/security"            SignedIn  security::page;
    Post "/security/end"        SignedIn  security::end;
    Get  "/security/password"   Proved    account::password_page;
    Post "/security/password"   Proved    account::password;
    Get  "/security/certificate" Proved   certificate::page;
    Post "/security/certificate" Proved   certificate::put;
    Post "/security/certificate/own" Proved certificate::take_back;
    Get  "/security/authority"  Proved    authority::page;
    Post "/security/authority"  Proved    authority::make;
    Post "/security/authority/forget" Proved authority::forget;
    Get  "/security/authority/cardea-authority.crt" Proved authority::download;
    Get  "/security/passkeys"   Proved    passkeys::page;
    Post "/security/passkeys"   Proved    passkeys::add;
    Post "/security/passkeys/remove" Proved passkeys::remove;
    Post "/sign-in/passkey"     Claimed   passkeys::sign_in;
    Post "/prove/passkey"       SignedIn  passkeys::prove;
    Get  "/system/reset"        Proved    reset::page;
    Post "/system/reset"        Proved    reset::reset;
    Post "/sign-out"            SignedIn  account::sign_out;
    Get  "/about"               SignedIn  account::about;
    // For operators.
    Get  "/radios"                SignedIn radios::list;
    Get  "/radios/zigbee"         Proved   radios::zigbee;
    Post "/radios/zigbee/backup"  Proved   radios::backup;
    Post "/radios/zigbee/restore" Proved   radios::restore;
    Get  "/broker"                SignedIn upstreams::status;
    Get  "/broker/test"           Proved   upstreams::form;
    Post "/broker/test"           Proved   upstreams::test;
    Get  "/map"                   SignedIn map::page;
    Get  "/log"                   SignedIn logs::page;
    Get  "/diagnosis"             Proved   logs::diagnosis;
    Post "/diagnosis"             Proved   logs::bundle;
    Get  "/system"                SignedIn system::page;
    Get  "/licences"              SignedIn system::licences;
    Get  "/licences.txt"          SignedIn system::licence_texts;
    Get  "/sbom.json"             SignedIn system::sbom;
    Get  "/live/radios"           SignedIn radios::live;
    Get  "/live/broker"           SignedIn upstreams::live;
    Get  "/live/log"              SignedIn logs::live;
    Get  "/live/overview"       SignedIn  live::overview;
    Get  "/live/locks"          SignedIn  live::locks;
    Get  "/live/locks/{lock}"   SignedIn  live::lock;
    Get  "/live/pair/{lock}"    SignedIn  live::pair;
}

/// One request that has passed every rule.
pub(crate) struct Call {
    pub(crate) text: &'static Texts,
    pub(crate) link: Link,
    pub(crate) headers: HeaderMap,
    pub(crate) session: Option<(Id, Session)>,
    params: BTreeMap<String, String>,
    query: Fields,
    form: Fields,
    /// What was uploaded.
    pub(crate) file: Option<Arc<Secret>>,
}

/// Decoded `application/x-www-form-urlencoded`. May hold a password or a label.
pub(crate) type Fields = BTreeMap<String, Zeroizing<String>>;

impl Call {
    /// A field of the form; empty when there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.form.get(name).map_or("", |value| value.as_str())
    }

    /// The same of the address.
    pub(crate) fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", |value| value.as_str())
    }

    pub(crate) fn secret(&self, name: &str) -> Zeroizing<String> {
        self.form.get(name).cloned().unwrap_or_default()
    }

    /// The lock that the path names.
    pub(crate) fn lock(&self) -> Option<LockId> {
        self.params.get("lock")?.parse().ok()
    }

    pub(crate) fn form_token(&self) -> String {
        self.session.as_ref().map(|(id, _)| id.form_token()).unwrap_or_default()
    }
}

/// The pages.
pub(crate) fn router(web: &Arc<Web>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let filter = match route.method {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
        };
        let handler: MethodRouter<Arc<Web>> =
            on(filter, move |State(web): State<Arc<Web>>, params: RawPathParams, request: Request<Body>| {
                dispatch(web, route, params, request)
            });
        router = router.route(route.path, handler);
    }
    router
        .fallback(|State(web): State<Arc<Web>>, request: Request<Body>| async move {
            let text = texts::choose(request.headers());
            // Before the claim there is nothing else, not even the knowledge of what there is.
            let status = if web.keeper.is_claimed() { StatusCode::NOT_FOUND } else { StatusCode::FORBIDDEN };
            pages::refusal(text, status)
        })
        .with_state(Arc::clone(web))
}

/// The rule first, the page after it.
async fn dispatch(web: Arc<Web>, route: &Route, params: RawPathParams, request: Request<Body>) -> Response {
    let (parts, _) = request.into_parts();
    let text = texts::choose(&parts.headers);
    let Some(link) = parts.extensions.get::<Link>().copied() else {
        return pages::refusal(text, StatusCode::BAD_REQUEST);
    };
    let cookies = parts.headers.get(header::COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // A live page that is only left open keeps no session alive.
    let active = !route.path.starts_with("/live/");
    let session = Id::from_cookies(cookies).and_then(|id| {
        let session = web.keeper.session(id.name(), active)?;
        Some((id, session))
    });
    let upload = parts.extensions.get::<Upload>().cloned();
    let form = match (&upload, parts.extensions.get::<Form>()) {
        (Some(upload), _) => (*upload.fields).clone(),
        (None, form) => form.map(|form| fields(&form.0)).unwrap_or_default(),
    };
    let file = upload.map(|upload| upload.file);
    let query = fields(parts.uri.query().unwrap_or_default().as_bytes());
    let params = params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let call = Call { text, link, headers: parts.headers, session, params, query, form, file };
    if let Err(refused) = may(&web, route, &call) {
        return *refused;
    }
    (route.handler)(web, call).await
}

fn may(web: &Web, route: &Route, call: &Call) -> Result<(), Box<Response>> {
    let refuse = |status| Err(Box::new(pages::refusal(call.text, status)));
    let to = |path: &str| Err(Box::new(see_other(path)));
    let is_page = route.method == Method::Get && !route.path.starts_with("/live/");
    let claimed = web.keeper.is_claimed();
    match route.rule {
        Rule::Anyone => {}
        Rule::Unclaimed if claimed && is_page => return to("/"),
        Rule::Unclaimed if claimed => return refuse(StatusCode::FORBIDDEN),
        Rule::Unclaimed => {}
        _ if !claimed && route.path == "/" => return to("/claim"),
        _ if !claimed => return refuse(StatusCode::FORBIDDEN),
        Rule::Claimed if call.session.is_some() && is_page => return to("/"),
        Rule::Claimed => {}
        Rule::SignedIn | Rule::Proved => {
            let Some((_, session)) = &call.session else {
                return if is_page { to("/sign-in") } else { refuse(StatusCode::FORBIDDEN) };
            };
            if route.rule == Rule::Proved && !session.is_fresh(keeper::now()) {
                let target = account::Target::of(route.path, call.lock());
                return to(&format!("/prove?for={target}"));
            }
        }
    }
    if route.method == Method::Post
        && let Some((id, _)) = &call.session
        && !id.is_form_token(call.field("token"))
    {
        return refuse(StatusCode::FORBIDDEN);
    }
    Ok(())
}

async fn asset(_: Arc<Web>, call: Call) -> Response {
    assets::serve(call.params.get("name").map_or("", String::as_str), &call.headers)
}

/// After a form: look there.
pub(crate) fn see_other(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    // What cannot stand in a header is none of our paths.
    let path = HeaderValue::from_str(path).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, path);
    response
}

/// At most 32 fields; bytes that are not UTF-8 are replaced.
fn fields(encoded: &[u8]) -> Fields {
    let pairs = encoded.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).take(32);
    let pairs = pairs.map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at_checked(at).unwrap_or_default();
        (decoded(name).to_string(), decoded(value.get(1..).unwrap_or_default()))
    });
    // The first of a name counts.
    let mut fields = Fields::new();
    for (name, value) in pairs {
        fields.entry(name).or_insert(value);
    }
    fields
}

fn decoded(bytes: &[u8]) -> Zeroizing<String> {
    // With room for all: a vector that moves leaves its secret behind.
    let mut out = Zeroizing::new(Vec::with_capacity(bytes.len()));
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let byte = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                rest = tail.get(2..).unwrap_or_default();
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                continue;
            }
            (b'+', _, _) => b' ',
            (other, _, _) => other,
        };
        out.push(byte);
        rest = tail;
    }
    Zeroizing::new(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded_and_bounded() {
        let fields = fields(b"a=1+2%2B3&b=%E4%B8%AD&a=second&c&=d&%zz=%4&bad=%ff");
        let get = |name: &str| fields.get(name).map(|value| value.as_str());
        assert_eq!(get("a"), Some("1 2+3"));
        assert_eq!(get("b"), Some("中"));
        assert_eq!(get("c"), Some(""));
        assert_eq!(get("%zz"), Some("%4"));
        assert_eq!(get("bad"), Some("\u{fffd}"));
        let many: String = (0..1000).map(|n| format!("{n}=x&")).collect();
        assert_eq!(super::fields(many.as_bytes()).len(), 32);
    }

    struct Silent;

    impl crate::Daemon for Silent {
        fn ask(
            &self,
            _: cardea_api::Request,
        ) -> Pin<Box<dyn Future<Output = Result<cardea_api::Reply, String>> + Send + '_>> {
            Box::pin(std::future::ready(Err("nobody without a session gets as far as this".into())))
        }
    }

    fn a_page(directory: &std::path::Path) -> Arc<Web> {
        let settings = crate::Settings {
            https: std::net::SocketAddr::from(([127, 0, 0, 1], 443)),
            http: None,
            names: Vec::new(),
            gateway: "gw".into(),
            data_dir: directory.to_owned(),
            button: false,
            resets: Vec::new(),
        };
        Web::open(settings, Arc::new(cardea_radio::MemoryStore::new()), Arc::new(Silent)).unwrap()
    }

    async fn claim(web: &Web) {
        let code = web.claim_code().await.unwrap();
        web.confirm_claim().unwrap();
        web.keeper.claim(&code, "vier alte Nussbäume".to_owned().into()).await.unwrap();
    }

    /// Asks for a row of the table; each from an address of its own, because one alone may not ask so much at once.
    async fn ask(web: &Arc<Web>, n: u8, route: &Route, cookie: &str, form: String) -> (String, Response) {
        let path = route.path.replace("{lock}", "00112233445566ff").replace("{name}", "x");
        let request = Request::builder()
            .method(if route.method == Method::Get { "GET" } else { "POST" })
            .uri(&path)
            .header("host", "127.0.0.1")
            .header("origin", "https://127.0.0.1")
            .header("cookie", cookie)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .unwrap();
        let local = std::net::SocketAddr::from(([127, 0, 0, 1], 443));
        let link = Link { peer: std::net::SocketAddr::from(([127, 0, 1, n], 1)), local };
        (path, crate::guard::answer(web, &router(web), link, request).await)
    }

    /// Somebody finds a browser that is signed in, a while after its owner gave the password.
    #[tokio::test]
    async fn what_needs_the_password_asks_for_it_again_after_a_while_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let web = a_page(directory.path());
        claim(&web).await;
        let id = web.keeper.begin("Browser", None).await.unwrap();
        let cookie = id.set_cookie().split(';').next().unwrap().to_owned();
        web.keeper.age_proof(id.name(), u64::try_from(crate::FRESH.as_millis()).unwrap() + 1);
        for (n, route) in (0_u8..).zip(ROUTES) {
            // The last of them ends the session.
            if ["/sign-out", "/security/end"].contains(&route.path) || route.path.starts_with("/live/") {
                continue;
            }
            let (path, answer) = ask(&web, n, route, &cookie, format!("token={}", id.form_token())).await;
            let asked = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
            let asks = asked.is_some_and(|to| to.starts_with("/prove?for="));
            assert_eq!(asks, route.rule == Rule::Proved, "{path}: {:?} {asked:?}", answer.status());
        }
    }

    /// What a stranger gets for each row of the table; a new row is asked for like the others.
    #[tokio::test]
    async fn every_route_keeps_its_rule_before_and_after_the_claim() {
        let directory = tempfile::tempdir().unwrap();
        let web = a_page(directory.path());
        for claimed in [false, true] {
            if claimed {
                claim(&web).await;
            }
            for (n, route) in (0_u8..).zip(ROUTES) {
                let (path, answer) = ask(&web, n, route, "", String::new()).await;
                let method = route.method;
                let status = answer.status().as_u16();
                let live = route.path.starts_with("/live/");
                let expected: &[u16] = match (route.rule, claimed, route.method) {
                    (Rule::Anyone, ..) => &[200, 303, 404],
                    (Rule::Unclaimed, false, _) | (Rule::Claimed, true, _) => &[200, 422],
                    (Rule::Unclaimed, true, Method::Get) => &[303],
                    (Rule::SignedIn, false, Method::Get) if path == "/" => &[303],
                    (Rule::SignedIn | Rule::Proved, true, Method::Get) if !live => &[303],
                    _ => &[403],
                };
                assert!(expected.contains(&status), "{method:?} {path}, claimed: {claimed}: {status}");
            }
        }
    }

    #[test]
    fn the_password_leads_back_to_the_page_that_asked_for_it() {
        let lock = Some(LockId([0x11; 8]));
        for route in ROUTES.iter().filter(|route| route.rule == Rule::Proved) {
            let back = account::Target::of(route.path, lock).path();
            let page = route.path.replace("{lock}", "1111111111111111");
            assert!(back != "/" && page.starts_with(&back), "{page}: back to {back}");
        }
    }

    #[test]
    fn whatever_changes_something_is_a_post_and_pages_of_locks_are_the_owners() {
        for route in ROUTES {
            let open = matches!(route.rule, Rule::Anyone | Rule::Unclaimed | Rule::Claimed);
            let known = ["/assets/{name}", "/language", "/claim", "/sign-in", "/sign-in/passkey", "/recover"]
                .contains(&route.path);
            assert_eq!(open, known, "{} is open to strangers", route.path);
            let changes = ["remove", "cancel", "end", "sign-out", "restore", "backup", "forget"]
                .iter()
                .any(|verb| route.path.ends_with(verb));
            let asks_first = route.path == "/locks/{lock}/remove" && route.method == Method::Get;
            assert!(!changes || asks_first || route.method == Method::Post, "{}", route.path);
            let radio = ["/pair", "/radios/zigbee", "/radios/zigbee/backup", "/radios/zigbee/restore"]
                .contains(&route.path)
                || route.path.ends_with("/remove")
                || route.path.starts_with("/security/password")
                || route.path.starts_with("/security/certificate")
                || route.path.starts_with("/security/authority")
                || route.path.starts_with("/security/passkeys")
                || route.path == "/system/reset";
            assert!(!radio || route.rule == Rule::Proved, "{} without the password", route.path);
        }
    }
}
