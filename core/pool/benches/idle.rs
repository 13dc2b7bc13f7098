//! What an operation on the pool costs with 1 to 1,000,000 idle connections: logarithmic at the most (annex-p2p §11, I16).
//! Each key is that of another repository.

use divan::{Bencher, black_box};
use pool::idle::Idle;
use pool::uuid::Uuid;

const COUNTS: [usize; 4] = [1, 100, 10_000, 1_000_000];

fn main() {
    divan::main();
}

/// A pool that is full, and the keys that are in it.
fn full(count: usize) -> (Idle<Uuid, u64>, Vec<Uuid>) {
    let uuid = |number: usize| {
        Uuid::new(&format!("{:08x}-0000-4000-8000-{number:012x}", number * 0x9e37_79b9 % (1 << 32)))
    };
    let keys: Vec<_> = (0..count).filter_map(uuid).collect();
    let mut idle = Idle::new(count);
    for key in &keys {
        let _ = idle.put(key.clone(), 0);
    }
    (idle, keys)
}

/// A connection is taken, and becomes idle again.
#[divan::bench(args = COUNTS, sample_size = 1000)]
fn take_and_put(bencher: Bencher, count: usize) {
    let (mut idle, keys) = full(count);
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 7_919) % keys.len();
        let connection = idle.take(&keys[next]).unwrap_or_default();
        black_box(idle.put(keys[next].clone(), connection))
    });
}

/// One too many becomes idle: the one that has been so longest is given up.
#[divan::bench(args = COUNTS, sample_size = 1000)]
fn put_and_give_up(bencher: Bencher, count: usize) {
    let (mut idle, keys) = full(count);
    let mut next = 0;
    bencher.bench_local(|| {
        next = (next + 7_919) % keys.len();
        black_box(idle.put(keys[next].clone(), 0))
    });
}

/// There is none of this key.
#[divan::bench(args = COUNTS, sample_size = 1000)]
fn take_what_is_not_there(bencher: Bencher, count: usize) {
    let (mut idle, _) = full(count);
    let absent = Uuid::new("80000000-0000-4000-8000-ffffffffffff");
    bencher.bench_local(|| absent.as_ref().and_then(|absent| idle.take(black_box(absent))));
}
