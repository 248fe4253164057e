//! Of many writers of one new object one wins, also where answers are lost, and nearly always
//! where the service does not mind conditions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use reelmill_common::Retryable as _;
use reelmill_faultproxy::http::Message;
use reelmill_store::conformance::{self, Fixture};
use reelmill_store::{S3Options, S3Store, Store, StoreError};
use tokio::task::JoinSet;

use super::harness::{connect, key, options, server, through, told};
use super::proxy::{CONFLICT, Fate, Proxy, UNCONDITIONAL};

/// Eight writers at once; gives back which of them were told that they won.
async fn race(store: &Arc<S3Store>, name: &str) -> Vec<String> {
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let (store, key, text) = (Arc::clone(store), key(name), format!("writer {writer}"));
        writers.spawn(async move {
            match store.put_new(&key, text.clone().into()).await {
                Ok(()) => Some(text),
                Err(StoreError::AlreadyExists(_)) => None,
                Err(error) => panic!("{error:?}"),
            }
        });
    }
    writers.join_all().await.into_iter().flatten().collect()
}

fn is_creation(request: &Message) -> bool {
    request.header("if-none-match").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs REELMILL_TEST_S3"]
async fn of_eight_writers_one_wins_each_time() {
    let store = Arc::new(connect(&options()).await);
    for round in 0..20 {
        let name = format!("race/{round}");
        let winners = race(&store, &name).await;
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(store.get(&key(&name)).await.unwrap(), winners[0]);
    }
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_writer_whose_answer_was_lost_on_the_way_still_knows_that_it_won() {
    let loses = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&loses);
    let proxy = Proxy::start(server(), move |request| {
        match is_creation(request) && flag.swap(false, Ordering::SeqCst) {
            true => Fate::ResponseLost,
            false => Fate::Pass,
        }
    })
    .await;
    let store = connect(&through(&proxy, &options())).await;
    loses.store(true, Ordering::SeqCst);
    store.put_new(&key("marker"), "mine".into()).await.unwrap();
    assert!(!loses.load(Ordering::SeqCst), "an answer was lost");
    assert!(matches!(
        store.put_new(&key("marker"), "mine".into()).await,
        Err(StoreError::AlreadyExists(_))
    ));
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn a_writer_that_meets_another_comes_back_within_bounds() {
    let conflicts = Arc::new(AtomicUsize::new(0));
    let left = Arc::clone(&conflicts);
    let take_one = |left: usize| left.checked_sub(1);
    let proxy = Proxy::start(server(), move |request| {
        let meets_one = is_creation(request)
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one)
                .is_ok();
        match meets_one {
            true => CONFLICT,
            false => Fate::Pass,
        }
    })
    .await;
    let two_attempts = S3Options {
        attempts: 2,
        ..through(&proxy, &options())
    };
    let store = connect(&two_attempts).await;
    conflicts.store(3, Ordering::SeqCst);
    store.put_new(&key("a"), "mine".into()).await.unwrap();
    assert_eq!(store.get(&key("a")).await.unwrap(), "mine");
    conflicts.store(1000, Ordering::SeqCst);
    let error = store.put_new(&key("b"), "x".into()).await.unwrap_err();
    assert!(error.is_retryable());
    let told = told(&error);
    assert!(told.ends_with(", though there is no such object"), "{told}");
    // There is one: nobody needs to come back.
    let taken = store.put_new(&key("a"), "x".into()).await;
    assert!(matches!(taken, Err(StoreError::AlreadyExists(_))));
}

async fn ignoring_conditions() -> (Proxy, S3Store) {
    let proxy = Proxy::start(server(), |_| UNCONDITIONAL).await;
    let store = connect(&through(&proxy, &options())).await;
    assert!(!store.creates_atomically(), "the probe finds out");
    (proxy, store)
}

#[tokio::test]
#[ignore = "needs REELMILL_TEST_S3"]
async fn without_conditions_a_taken_key_is_still_taken() {
    async fn fixture() -> Fixture {
        let (proxy, store) = ignoring_conditions().await;
        Fixture::new(Arc::new(store), proxy)
    }
    conformance::put_new_fails_where_an_object_is(&fixture().await).await;
    conformance::a_deleted_object_can_be_put_again(&fixture().await).await;
    conformance::an_empty_object_is_an_object(&fixture().await).await;
    conformance::a_large_object_is_whole(&fixture().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs REELMILL_TEST_S3"]
async fn without_conditions_the_object_that_stays_is_a_winners() {
    let (_proxy, store) = ignoring_conditions().await;
    let store = Arc::new(store);
    let mut rounds_with_one = 0;
    for round in 0..6 {
        let name = format!("race/{round}");
        let winners = race(&store, &name).await;
        let stayed = store.get(&key(&name)).await.unwrap();
        assert!(
            winners.iter().any(|winner| stayed == *winner),
            "{stayed:?} of {winners:?}"
        );
        rounds_with_one += usize::from(winners.len() == 1);
    }
    // More than one only where a writer is held up for a quarter of a second.
    assert!(rounds_with_one > 0);
}
