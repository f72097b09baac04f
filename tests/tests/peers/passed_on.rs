//! A grant that its holder passed on: the second phone opens the door as long as every key of the chain holds.

use std::time::Duration;

use cardea_credentials::{Agreement as _, Scope, SoftAgreement, SoftSigner, Terms};
use cardea_resources::Bolt;
use cardea_sdk::{Ask, Bundle, OsRandom, Outcome, PlatformEvent, Signer as _, holder::delegate};
use cardea_tests::phone::Phone;

use crate::site::{LIMIT, Site, key};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_phone_opens_the_door_by_what_the_first_passed_on_until_the_first_ones_key_is_revoked() {
    let mut site = Site::new().await;
    let (ada, bob) = (key(), key());
    let adas_signer = SoftSigner::generate(&mut OsRandom).unwrap();
    let for_ada = site
        .grant(&ada, "Ada", |new| {
            new.scope = Scope::UNLOCK | Scope::LOCK | Scope::STATUS;
            new.delegate = Some(adas_signer.public());
        })
        .await;
    site.outage().await;
    // Nobody is asked: the first phone signs, and the file goes to the second.
    let own = for_ada.grant().terms();
    let terms = Terms {
        holder: bob.public(),
        scope: Scope::UNLOCK,
        expires: own.expires - 600,
        delegate: None,
        ..*own
    };
    let passed = delegate(&for_ada, &terms, &adas_signer, &mut OsRandom).unwrap();
    let for_bob = Bundle::decode(&passed.encode()).unwrap();
    let (socket, bundle, bobs_key) = (site.socket.clone(), for_bob.clone(), same(&bob));
    let work = tokio::task::spawn_blocking(move || {
        let mut phone = Phone::new(&socket, &bundle, bobs_key);
        assert!(phone.connect(LIMIT), "no session");
        let unlocked = phone.ask(Ask::Unlock);
        assert!(matches!(unlocked, Outcome::Done { bolt: Bolt::Unlocked, .. }), "{unlocked:?}");
        // What Ada has and did not pass on.
        for kept in [Ask::Lock, Ask::Status] {
            assert_eq!(phone.ask(kept), Outcome::Rejected { code: "4.03".into() });
        }
    });
    work.await.unwrap();
    assert_eq!(*site.lock.bolt().borrow(), Bolt::Unlocked);
    site.broker.up();
    site.hears_of("Ada").await; // whose grant it was, whatever Bob's is called

    site.platform.revoke(vec![ada.public().thumbprint()]).await.unwrap();
    site.event("the lock has the list", |e| matches!(e, PlatformEvent::ListConfirmed { .. })).await;
    let socket = site.socket.clone();
    let work = tokio::task::spawn_blocking(move || {
        for (who, bundle, key) in [("Ada", for_ada, ada), ("Bob", for_bob, bob)] {
            let mut phone = Phone::new(&socket, &bundle, key);
            assert!(!phone.connect(Duration::from_secs(3)), "{who} still has a session");
        }
    });
    work.await.unwrap();
}

fn same(key: &SoftAgreement) -> SoftAgreement {
    SoftAgreement::from_bytes(&key.to_bytes()).unwrap()
}
