//! The stage that boots the bare-metal images.

use super::Suite;
use crate::qemu::{self, Guest, TARGETS};
use crate::stage::{Limit, Outcome};

/// Every image on small and large machines, with one processor and two; the NUMA machines of those that have such.
fn guests() -> Vec<Guest> {
    let mut guests: Vec<Guest> =
        [(128, 1), (128, 2), (1024, 1), (1024, 2)].map(|(mib, smp)| Guest::new(mib, smp)).into();
    guests.push(Guest { numa: 2, ..Guest::new(512, 2) });
    guests
}

/// Each image boots, runs its tests, and says that they passed.
pub(super) fn boot(suite: &mut Suite<'_>, limit: Limit) -> Outcome {
    let (mut booted, mut wrong) = (0, Vec::new());
    for target in &TARGETS {
        // A machine without QEMU shows nothing: that is a failure.
        let image = match qemu::build(suite.project, target) {
            Ok(image) => image,
            Err(why) => return Outcome::Failed(why),
        };
        for guest in guests() {
            let what = format!("{} with {} MiB, {} processors", target.name, guest.memory_mib, guest.smp);
            match qemu::boot(suite.project, target, &guest, &image, limit.left(), suite.verbose) {
                Err(why) => wrong.push(format!("{what}: {why}")),
                Ok(ended) => match ended.passed() {
                    Ok(()) => booted += 1,
                    Err(why) => wrong.push(format!("{what}: {why}\n{}", crate::cmd::tail(&ended.text, 20))),
                },
            }
        }
    }
    if wrong.is_empty() {
        Outcome::Passed(format!("{booted} machines boot {} images", TARGETS.len()))
    } else {
        Outcome::Failed(format!("{} boots failed\n{}", wrong.len(), wrong.join("\n")))
    }
}
