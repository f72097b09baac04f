//! A grant passed on: its holder narrows it, and signs the narrower one for somebody else's key.

use cardea_credentials::{
    Error as Refused, MAX_DELEGABLE_GRANT_LEN, Random, Signer, Terms, delegate_grant, narrow,
};

use crate::{Bundle, Error};

/// Signs `terms` for another holder, under the grant of `parent`. `key` is the one that this grant names for it. The
/// platform hears nothing of it: whoever revokes a key of the chain, or waits for the end of a grant in it, ends this
/// one too.
///
/// What stays as it is, is taken over:
///
/// ```no_run
/// # use cardea_sdk::{Bundle, Error, OsRandom, PublicKey, Scope, Signer, Terms, holder::delegate};
/// # fn example(mine: &Bundle, key: &dyn Signer, theirs: PublicKey) -> Result<Bundle, Error> {
/// let own = mine.grant().terms();
/// delegate(mine, &Terms { holder: theirs, scope: Scope::UNLOCK, delegate: None, ..*own }, key, &mut OsRandom)
/// # }
/// ```
///
/// # Errors
/// [`Error::Terms`] for terms that are wider than the grant, for a grant that cannot be passed on, or not once more, and
/// for another key; [`Error::KeyUnavailable`]; [`Error::Random`].
pub fn delegate(
    parent: &Bundle,
    terms: &Terms,
    key: &dyn Signer,
    random: &mut dyn Random,
) -> Result<Bundle, Error> {
    let mut id = [0; 8];
    random.fill(&mut id).map_err(|_| Error::Random)?;
    let mut cwt = vec![0; MAX_DELEGABLE_GRANT_LEN];
    let length = delegate_grant(parent.grant(), terms, &id, key, &mut cwt).map_err(|error| {
        let why = match error {
            Refused::KeyUnavailable => return Error::KeyUnavailable,
            Refused::TooLong => "a grant is passed on twice at most, and this one was",
            Refused::Widens => widened(parent.grant().terms(), terms),
            Refused::WrongHolder => "that is not the key which the grant names for passing it on",
            _ => {
                "a grant needs a right and a time, its holder two different keys, and one for a single use is not passed on"
            }
        };
        Error::Terms(why.into())
    })?;
    cwt.truncate(length);
    let above = [parent.above(), parent.cwt()].concat();
    Bundle::with_chain(parent.lock(), parent.platform(), &cwt, &above)
}

/// In which dimension, for people. The rule itself is [`narrow`]'s, asked about each alone.
fn widened(parent: &Terms, child: &Terms) -> &'static str {
    if narrow(parent, parent).is_err() {
        return "this grant cannot be passed on: it names no key for that, or is for a single use";
    }
    let alone = [
        ("another lock than the grant's", Terms { lock: child.lock, ..*parent }),
        ("a right that the grant does not have", Terms { scope: child.scope, ..*parent }),
        ("a time before the grant begins", Terms { not_before: child.not_before, ..*parent }),
        ("a time after the grant ends", Terms { expires: child.expires, ..*parent }),
        ("hours that the grant does not have", Terms { window: child.window, ..*parent }),
    ];
    let wider = alone.iter().find(|(_, terms)| narrow(parent, terms).is_err());
    wider.map_or("more than the grant has", |(what, _)| what)
}

#[cfg(test)]
mod tests {
    use cardea_credentials::{
        Agreement as _, Scope, SoftAgreement, SoftSigner, Weekly, issue_grant, issue_lock_identity,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{OsRandom, PublicKey};

    fn signer(byte: u8) -> SoftSigner {
        SoftSigner::from_bytes(&[byte; 32]).unwrap()
    }

    fn holder(byte: u8) -> PublicKey {
        SoftAgreement::from_bytes(&[byte; 32]).unwrap().public()
    }

    fn terms() -> Terms {
        Terms {
            lock: signer(1).public().thumbprint(),
            holder: holder(4),
            scope: Scope::UNLOCK | Scope::STATUS,
            not_before: 1_000,
            expires: 9_000,
            single_use: false,
            window: Weekly::new(0x1f, 32, 40).ok(),
            delegate: Some(signer(40).public()),
        }
    }

    /// By the platform, for holder 4, who passes on with key 40.
    fn bundle(terms: &Terms) -> Bundle {
        let (mut lock, mut grant) = ([0; 256], [0; 256]);
        let length = issue_lock_identity(&signer(1), &holder(3), &mut lock).unwrap();
        let len = issue_grant(terms, &[5; 8], &signer(2), &mut grant).unwrap();
        Bundle::new(&lock[..length], &signer(2).public(), &grant[..len]).unwrap()
    }

    fn passed(parent: &Bundle, terms: &Terms, key: u8) -> Result<Bundle, Error> {
        delegate(parent, terms, &signer(key), &mut OsRandom)
    }

    fn words(result: Result<Bundle, Error>) -> String {
        match result {
            Err(Error::Terms(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_grant_is_passed_on_twice_and_its_bundle_brings_the_chain() {
        let first = bundle(&terms());
        let second_terms = Terms { holder: holder(6), delegate: Some(signer(41).public()), ..terms() };
        let second = passed(&first, &second_terms, 40).unwrap();
        let third_terms =
            Terms { holder: holder(7), scope: Scope::UNLOCK, single_use: true, delegate: None, ..terms() };
        let third = passed(&second, &third_terms, 41).unwrap();
        for (bundle, links, version) in [(&first, 1, b'1'), (&second, 2, b'2'), (&third, 3, b'2')] {
            let bytes = bundle.encode();
            assert_eq!(bytes[1 + 1 + 14], version);
            let read = Bundle::decode(&bytes).unwrap();
            assert_eq!((read.grant(), read.encode()), (bundle.grant(), bytes));
            assert_eq!((read.grant().links(), read.grant().origin()), (links, [5; 8]));
        }
        assert_eq!(*third.grant().terms(), third_terms);
        assert_eq!(third.above(), [first.cwt(), second.cwt()].concat());
        assert!(words(passed(&third, &third_terms, 41)).contains("twice at most"));
    }

    #[test]
    fn what_would_be_wider_is_not_signed_and_the_reason_is_named() {
        let parent = bundle(&terms());
        let own = Terms { holder: holder(6), delegate: None, ..terms() };
        for (what, terms) in [
            ("another lock", Terms { lock: [9; 32], ..own }),
            ("a right that", Terms { scope: own.scope | Scope::LOCK, ..own }),
            ("a right that", Terms { scope: Scope::from_bits(1 << 9), ..own }),
            ("before the grant", Terms { not_before: 999, ..own }),
            ("after the grant", Terms { expires: 9_001, ..own }),
            ("hours that", Terms { window: None, ..own }),
            ("needs a right", Terms { scope: Scope::NONE, ..own }),
            ("needs a right", Terms { expires: 1_000, ..own }),
            ("two different keys", Terms { delegate: Some(own.holder), ..own }),
            ("not passed on", Terms { single_use: true, delegate: Some(signer(41).public()), ..own }),
        ] {
            let why = words(passed(&parent, &terms, 40));
            assert!(why.contains(what), "{what}: {why}");
        }
        assert!(words(passed(&parent, &own, 41)).contains("not the key"));
        let plain = bundle(&Terms { delegate: None, ..terms() });
        assert!(words(passed(&plain, &own, 40)).contains("cannot be passed on"));
        let once = bundle(&Terms { delegate: None, single_use: true, ..terms() });
        assert!(words(passed(&once, &own, 40)).contains("cannot be passed on"));
    }

    #[test]
    fn a_bundle_whose_chain_is_not_whole_is_refused() {
        let first = bundle(&terms());
        let own = Terms { holder: holder(6), delegate: None, ..terms() };
        let second = passed(&first, &own, 40).unwrap();
        let bytes = second.encode();
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(Bundle::decode(&wrong).is_err(), "byte {at}");
            assert!(Bundle::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        let with = |cwt: &[u8], above: &[u8]| Bundle::with_chain(first.lock(), first.platform(), cwt, above);
        assert!(with(second.cwt(), first.cwt()).is_ok());
        assert!(with(second.cwt(), &[]).is_err(), "without its chain");
        assert!(with(first.cwt(), first.cwt()).is_err(), "a grant of the platform has nothing above it");
        assert!(with(second.cwt(), &[first.cwt(), first.cwt()].concat()).is_err());
        // The second form without a chain would be another form of the first.
        let mut empty = first.encode();
        (empty[0], empty[16]) = (0x85, b'2');
        empty.push(0x40);
        assert!(Bundle::decode(&empty).is_err());
    }

    prop_compose! {
        fn any_terms()(
            scope in 1_u16..64, not_before in 990_u32..1_010, life in 1_u32..8_010, single_use in any::<bool>(),
            hours in prop::option::of((1_u8..128, 0_u8..96, 1_u8..=96)), delegate in prop::option::of(41_u8..44),
        ) -> Terms {
            let window = hours.and_then(|(days, from, quarters)| Weekly::new(days, from, quarters).ok());
            let delegate = delegate.map(|key| signer(key).public());
            let scope = Scope::from_bits(scope);
            Terms { holder: holder(6), scope, not_before, expires: not_before + life, single_use, window, delegate, ..terms() }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever a holder asks for: what is signed is within the grant at every second of its life, and what is within
        /// it is signed.
        #[test]
        fn no_grant_that_is_passed_on_is_wider_than_its_parent(mut child in any_terms(), tame in 0_u8..16) {
            let own = terms();
            // Often enough only one dimension is wild.
            if tame & 1 != 0 { child.scope = own.scope; }
            if tame & 2 != 0 { (child.not_before, child.expires) = (own.not_before, own.expires); }
            if tame & 4 != 0 { child.window = own.window; }
            if tame & 8 != 0 { child.single_use = false; }
            let parent = bundle(&own);
            let sound = !(child.single_use && child.delegate.is_some());
            let hours = |terms: &Terms, second| terms.window.is_none_or(|window| window.contains(second));
            let within = child.scope.bits() & !own.scope.bits() == 0
                && child.not_before >= own.not_before
                && child.expires <= own.expires
                // Every quarter of a week.
                && (0..672).map(|quarter| quarter * 900).all(|second| !hours(&child, second) || hours(&own, second));
            let result = passed(&parent, &child, 40);
            prop_assert_eq!(result.is_ok(), within && sound, "{:?}", result.err());
        }
    }
}
