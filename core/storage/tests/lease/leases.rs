//! Leases: protocol G, and the times they are for.

use protocol::server::ServerError;
use storage::config::{Config, LEASE, STARTER_LEASE};
use storage::database::AccountId;

use crate::place::{DAY, Place, START};
use crate::scripted::Call;

#[tokio::test(start_paused = true)]
async fn every_share_of_the_file_is_leased_in_one_step() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    place.upload(1, b"abcd").await;
    place.copy_in(2, b"copied");
    let _coming = place.writer(3, 4).await;
    place.world.set_wall(START + 10 * DAY);
    place.lease().await.unwrap();
    for share in [0, 1, 2] {
        assert_eq!(place.leased_until(share).await, Some(START + 10 * DAY + LEASE));
    }
    assert_eq!(place.leased_until(3).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_back_shortens_no_lease() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    place.world.set_wall(START - 40 * DAY);
    place.lease().await.unwrap();
    drop(place.allocate(&[0], 4).await.unwrap());
    let lease = place.leases(0).await[&AccountId::ANONYMOUS];
    assert_eq!((lease.renewed, lease.expires), (START, Some(START + LEASE)));
}

#[tokio::test(start_paused = true)]
async fn a_starter_lease_stays_beside_that_of_clients() {
    let place = Place::new().await;
    place.copy_in(0, b"copied");
    place.lease().await.unwrap();
    let leases = place.leases(0).await;
    assert_eq!(leases[&AccountId::STARTER].expires, Some(START + STARTER_LEASE));
    assert_eq!(leases[&AccountId::ANONYMOUS].expires, Some(START + LEASE));
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_not_promised_while_the_backend_is_out() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    place.world.set_wall(START + DAY);
    place.backend.fail(Call::List, 1);
    assert!(matches!(place.lease().await, Err(ServerError::Disk(_))));
    assert_eq!(place.leased_until(0).await, Some(START + LEASE), "and nothing is lost");
    place.lease().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn leases_last_across_a_restart() {
    let place = Place::new().await;
    place.upload(0, b"abcd").await;
    let place = place.crash(Config::default()).await;
    assert_eq!(place.leased_until(0).await, Some(START + LEASE));
    assert_eq!(place.shares().await, [0]);
}
