//! No secret of a client reaches a trace, whatever happens to the server (leasedb-and-storage §16, I14).
#![allow(clippy::unwrap_used, reason = "a failure here is a failure")]

use scenarios::ALL;
use scenarios::storage::oracle::secrets::check_secrets;
use scenarios::storage::play::secrets;
use scenarios::storage::workload::StorageWorkload;
use seedgrid::case::{Case, Detail, run};

#[test]
fn no_secret_reaches_a_trace() {
    let scenarios = ["lease-mixed", "lease-uploads", "lease-slots", "lease-cloud", "lease-crash"];
    for scenario in scenarios.map(|name| ALL.find(name).unwrap()) {
        for seed in 0..8 {
            let case = Case::draw(scenario, seed);
            let secrets = secrets(case.workload.of::<StorageWorkload>());
            let recorded = format!("{:?}", run(&case, Detail::Full).recorded.unwrap());
            assert!(recorded.contains("storage"), "the server says nothing at all");
            check_secrets(&recorded, &secrets).unwrap();
        }
    }
}
