//! The text of a workload, as `pagewright run` takes it.

use crate::said;
use pagewright_lab::workload::{MAX_CPUS, MAX_OPERATIONS, Workload};

/// Reads a workload. What is refused names a place in the text; what is not can be worked through.
pub fn workload(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Workload::parse(&text) {
        Ok(workload) => {
            assert!(workload.cpus.is_none_or(|cpus| (1..=MAX_CPUS).contains(&cpus)));
            for phase in &workload.phases {
                assert!((1..=MAX_OPERATIONS).contains(&phase.operations) && phase.period >= 2);
                for at in [0, 1, u64::MAX] {
                    assert!(phase.orders.at(at).is_some_and(|order| order.get() <= 10));
                    assert!(phase.masks.at(at).is_some_and(|mask| mask.migrate_type(true).is_ok()));
                }
                let shares = [phase.fill, phase.swing, phase.stay, phase.pinned];
                assert!(shares.iter().all(|share| *share <= 100));
            }
        }
        Err(e) => {
            let line = text.lines().nth(e.line - 1).unwrap_or("");
            assert!(e.column <= line.chars().count() + 1, "{e} in {line:?}");
            assert_eq!(e.to_string().lines().count(), 1, "{e}");
            said(e);
        }
    }
}
