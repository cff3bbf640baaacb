//! Looking on while a workload runs: reports of failures, owners of pages, failures on purpose, blocks from other types' lists.

use crate::fault::Fault;
use pagewright::platform::Mutex as SpinMutex;
use pagewright_addr::{NodeId, PageShift};
use pagewright_firmware::config::KernelConfig;
use pagewright_page::PageMap;
use pagewright_slab::{SlabCounters, SlabPages};
use pagewright_zone::NodeMask;
use pagewright_zone::alloc::report::{Counts, Failure, NodeCounts};
use pagewright_zone::alloc::{PageEvent, PageEvents};
use pagewright_zone::buddy::{Fallback, WatchFallbacks};
use pagewright_zone::debug::{Debugging, FaultAttr, Observer, Record, TaskName, Trouble};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// What of a workload is looked at besides its account.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Watch {
    /// How many failures the kernel reports, with its Mem-Info; later ones fail in silence.
    pub failures: usize,
    /// Whether pages' owners are remembered.
    pub page_owner: bool,
    /// `interval,probability,space,times`: allocations that are made to fail.
    pub fail_page_alloc: Option<String>,
    /// How many blocks that were taken from other types' lists are told of.
    pub events: usize,
}

/// The side arrays of debugging, and what it finds.
pub(super) struct Watched {
    owners: Vec<SpinMutex<Record>>,
    fault: Option<FaultAttr>,
    failed: AtomicU32,
    calls: AtomicU64,
    troubles: Mutex<Vec<String>>,
}

impl Watched {
    /// For a machine of so many frames.
    ///
    /// # Errors
    /// A [`Fault`] if the text for failures cannot be read.
    pub(super) fn new(watch: &Watch, seed: u64, frames: usize) -> Result<Self, Fault> {
        let fault = match &watch.fail_page_alloc {
            Some(text) => {
                let fault = FaultAttr::new(seed);
                fault.setup(text).map_err(|e| Fault::caused(e, "--fail-page-alloc", ""))?;
                // Linux's defaults spare single pages and whoever may wait, which is nearly all that a workload asks for.
                fault.set_min_order(0);
                fault.set_ignore_gfp_wait(false);
                fault.set_ignore_gfp_highmem(false);
                Some(fault)
            }
            None => None,
        };
        let owners = if watch.page_owner { frames } else { 0 };
        Ok(Self {
            owners: (0..owners).map(|_| SpinMutex::new(Record::EMPTY)).collect(),
            fault,
            failed: AtomicU32::new(0),
            calls: AtomicU64::new(0),
            troubles: Mutex::default(),
        })
    }

    /// Debugging, if anything is watched.
    pub(super) fn debugging(&self) -> Option<Debugging<'_>> {
        let debugging = Debugging::new(self, &self.failed);
        let debugging = match self.owners.as_slice() {
            [] => debugging,
            owners => debugging.with_owners(owners),
        };
        let debugging = match &self.fault {
            Some(fault) => debugging.with_faults(fault),
            None => debugging,
        };
        (!debugging.switches().is_empty()).then_some(debugging)
    }

    /// Allocations that were made to fail.
    pub(super) fn injected(&self) -> u32 {
        self.failed.load(Relaxed)
    }

    /// What was found to be wrong first.
    pub(super) fn trouble(&self) -> Option<String> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }
}

impl Observer for Watched {
    /// The allocator's calls are the clock, so that the same seed shows the same.
    fn now_ns(&self) -> u64 {
        self.calls.fetch_add(1, Relaxed) + 1
    }

    fn task(&self) -> TaskName {
        TaskName::new(1, 1, COMM)
    }

    fn found(&self, trouble: &Trouble) {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).push(trouble.to_string());
    }
}

/// The first blocks that were taken from other types' lists, as tracefs tells of them.
pub(super) struct Extfrag<'a> {
    most: usize,
    map: PageMap<'a>,
    said: Mutex<Vec<String>>,
}

impl<'a> Extfrag<'a> {
    /// None yet.
    pub(super) fn new(most: usize, map: PageMap<'a>) -> Self {
        Self { most, map, said: Mutex::default() }
    }

    /// What was said.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl WatchFallbacks for Extfrag<'_> {
    fn fallback(&self, fallback: &Fallback) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() < self.most {
            said.push(PageEvent::Fallback { pfn: self.map.pfn(fallback.block), fallback }.to_string());
        }
    }
}

impl PageEvents for Extfrag<'_> {
    fn event(&self, _: &PageEvent<'_>) {}
}

/// The task that a workload is to the kernel.
const COMM: &str = "workload";

/// The kernel's reports of failures, up to a number.
pub(super) struct Reports {
    most: usize,
    online: NodeMask,
    counts: MachineCounts,
    said: Mutex<Vec<String>>,
}

/// What a machine is besides its page allocator, and what its objects take.
struct MachineCounts {
    page_shift: PageShift,
    numa: bool,
    cma: bool,
    slabs: SlabCounters,
}

impl Counts for MachineCounts {
    fn node(&self, nid: NodeId) -> NodeCounts {
        let SlabPages { reclaimable, unreclaimable } = self.slabs.of(nid);
        NodeCounts {
            slab_reclaimable: reclaimable,
            slab_unreclaimable: unreclaimable,
            ..NodeCounts::default()
        }
    }

    fn numa(&self) -> bool {
        self.numa
    }

    fn cma(&self) -> bool {
        self.cma
    }

    fn page_shift(&self) -> PageShift {
        self.page_shift
    }
}

impl Reports {
    /// None yet.
    pub(super) fn new(most: usize, config: &KernelConfig, online: NodeMask) -> Self {
        let (page_shift, numa, cma) = (config.page_shift, config.numa, config.cma.is_some());
        let counts = MachineCounts { page_shift, numa, cma, slabs: SlabCounters::new() };
        Self { most, online, counts, said: Mutex::default() }
    }

    /// Where pages of objects are counted, if there are any.
    pub(super) const fn slabs(&self) -> &SlabCounters {
        &self.counts.slabs
    }

    /// Notes a failure.
    pub(super) fn say(&self, failure: &Failure<'_>) {
        let mut said = self.said();
        if said.len() < self.most {
            let mut text = format!("{}\n", failure.line(COMM, "/", &self.online));
            // Writing to a text does not fail.
            let _ = failure.show_mem(&self.counts, &mut text);
            said.push(text);
        }
    }

    /// What was said.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.said())
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
