//! Who comes in, and who does not.

use cardea_radio::MemoryStore;

use super::claim::TRIES;
use super::sessions::SESSIONS;
use super::*;

const PASSWORD: &str = "vier alte Nussbäume";

fn password() -> Zeroizing<String> {
    PASSWORD.to_owned().into()
}

fn keeper(store: &MemoryStore) -> Keeper {
    Keeper::open(Arc::new(store.clone()), &[]).unwrap()
}

#[tokio::test]
async fn a_claim_needs_the_code_and_presence_and_happens_once() {
    let store = MemoryStore::new();
    let keeper = keeper(&store);
    assert_eq!(keeper.confirm(), Err(ClaimError::NoCode));
    let code = keeper.new_code().await.unwrap();
    assert_eq!(code.len(), 19);
    assert_eq!(keeper.claim(&code, password()).await, Err(ClaimError::NotConfirmed));
    keeper.confirm().unwrap();
    assert_eq!(keeper.claim("0000-0000-0000-0000", password()).await, Err(ClaimError::WrongCode));
    keeper.claim(&code.to_lowercase().replace('-', " "), password()).await.unwrap();
    assert_eq!(keeper.claim(&code, password()).await, Err(ClaimError::Claimed));
    assert_eq!(keeper.new_code().await, Err(ClaimError::Claimed));
    assert_eq!(keeper.confirm(), Err(ClaimError::Claimed));
    assert!(keeper.is_owner(password()).await.unwrap());
}

#[tokio::test]
async fn five_wrong_codes_use_a_confirmation_up_and_a_new_code_voids_the_old_one() {
    let keeper = keeper(&MemoryStore::new());
    let old = keeper.new_code().await.unwrap();
    let code = keeper.new_code().await.unwrap();
    keeper.confirm().unwrap();
    assert_eq!(keeper.claim(&old, password()).await, Err(ClaimError::WrongCode));
    for _ in 1..TRIES {
        assert_eq!(keeper.claim("x", password()).await, Err(ClaimError::WrongCode));
    }
    assert_eq!(keeper.claim(&code, password()).await, Err(ClaimError::NotConfirmed));
    keeper.confirm().unwrap();
    keeper.claim(&code, password()).await.unwrap();
}

#[tokio::test]
async fn nothing_secret_is_stored_and_everything_survives_a_restart() {
    let store = MemoryStore::new();
    let first = keeper(&store);
    let code = first.new_code().await.unwrap();
    let digits = code.replace('-', "");
    let holds = |needle: &[u8]| {
        store.snapshot().iter().any(|(_, v)| v.windows(needle.len()).any(|window| window == needle))
    };
    assert!(!holds(digits.as_bytes()) && !holds(code.as_bytes()));
    drop(first);
    let second = keeper(&store);
    second.confirm().unwrap();
    second.claim(&code, password()).await.unwrap();
    let id = second.begin("Browser", None).await.unwrap();
    assert!(!holds(PASSWORD.as_bytes()));
    let cookie = id.set_cookie();
    let secret = cookie.split(['=', ';']).nth(1).unwrap();
    assert!(!holds(secret.as_bytes()));
    assert!(store.snapshot().iter().all(|(key, _)| !key.ends_with(&hex::decode(secret).unwrap())));

    let third = keeper(&store);
    assert!(third.is_claimed() && third.session(id.name(), false).is_some());
    assert!(store.snapshot().iter().all(|(key, _)| key != CODE), "a used code is gone");
}

#[tokio::test]
async fn an_owner_that_cannot_be_read_is_an_error_and_never_an_unclaimed_gateway() {
    let store = MemoryStore::new();
    store.commit_now(vec![put(OWNER, b"{".to_vec())]).unwrap();
    assert!(Keeper::open(Arc::new(store), &[]).is_err());
}

#[tokio::test]
async fn a_claim_that_cannot_be_stored_is_none() {
    let store = MemoryStore::new();
    let keeper = keeper(&store);
    let code = keeper.new_code().await.unwrap();
    keeper.confirm().unwrap();
    store.set_failing(true);
    assert!(matches!(keeper.claim(&code, password()).await, Err(ClaimError::Store(_))));
    assert!(!keeper.is_claimed());
}

#[tokio::test]
async fn sessions_are_bounded_replaced_at_sign_in_and_revoked() {
    let store = MemoryStore::new();
    let keeper = keeper(&store);
    let first = keeper.begin("first", None).await.unwrap();
    let second = keeper.begin("second", Some(first.name())).await.unwrap();
    assert!(keeper.session(first.name(), true).is_none() && keeper.session(second.name(), true).is_some());
    for n in 0..SESSIONS + 5 {
        keeper.begin(&format!("{n}\r\n"), None).await.unwrap();
    }
    assert_eq!(keeper.sessions().len(), SESSIONS);
    assert!(keeper.sessions().iter().all(|(_, session)| !session.browser.contains('\n')));
    let kept = keeper.sessions().first().unwrap().0;
    keeper.end(|name| name != kept).await.unwrap();
    assert_eq!(keeper.sessions().len(), 1);
    assert_eq!(Keeper::open(Arc::new(store), &[]).unwrap().sessions().len(), 1);
}
