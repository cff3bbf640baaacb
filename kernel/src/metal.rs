//! What an architecture gives the part of an image that is common to all.

#[cfg(feature = "bench")]
use crate::bench::kmap;
use crate::console::Console;
use crate::direct_map::DirectMap;
use crate::pages::Pages;
use crate::percpu::CpuLocal;
use crate::selftest::{Note, Subject, note};
use crate::team::Team;
use crate::work::Work;
use pagewright::Boot;
use pagewright::pgtable::KernelTables;
use pagewright_addr::{PhysAddr, VirtAddr, VirtRange};
use pagewright_hot::{SpaceError, SpaceSetup, WithSpace};
use pagewright_kspace::module::ModuleArch;

/// What is done at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A byte is read.
    Read,
    /// A byte is written (the one that is there, if it can be read).
    Write,
    /// The code there is called. It returns at once, if it runs at all.
    Execute,
}

/// One of the accesses by which an image shows that its memory is either written or executed.
#[derive(Clone, Copy, Debug)]
pub struct WxProbe {
    /// What the address belongs to.
    pub what: &'static str,
    /// Where.
    pub at: VirtAddr,
    /// What is tried.
    pub access: Access,
    /// Whether it must work; else it must fault.
    pub allowed: bool,
}

/// Modules that the build script has compiled for an image (`kernel/module/`).
#[derive(Clone, Copy, Debug)]
pub struct ModuleFiles {
    /// What they are compiled for.
    pub arch: ModuleArch,
    /// `sample.rs`.
    pub sample: &'static [u8],
    /// `user.rs`.
    pub user: &'static [u8],
}

/// Makes a stack and says where its top is; `None` if there is no room or no memory for it.
pub type NewStack<'s> = dyn FnMut() -> Option<VirtAddr> + 's;

/// A processor with its machine, to the tests and benchmarks that all images share.
pub trait Metal: Sync {
    /// Where lines go.
    fn console(&self) -> &dyn Console;

    /// Tries an access that may fault. True if it worked.
    fn probe(&self, at: VirtAddr, access: Access) -> bool;

    /// Where the processor's own translation leads in the tables that are loaded: `None` if the processor has no instruction
    /// for that, the inner one if the access would fault. Touches nothing.
    fn translate(&self, at: VirtAddr, access: Access) -> Option<Option<PhysAddr>>;

    /// Forgets all translations of the tables that were changed, on all processors.
    fn flush_tlb(&self);

    /// Forgets this processor's translation of a kernel's page. Who overrides it not forgets more.
    fn flush_here(&self, _: VirtAddr) {
        self.flush_tlb();
    }

    /// Makes entries that were added to the kernel's tables visible to all processors' table walkers, where they do not see to that.
    fn publish(&self) {}

    /// Accesses that must work or must fault in an image whose text is read-only and whose data is not executed.
    fn wx_probes(&self, ram: &DirectMap) -> &[WxProbe];

    /// Pages that the top table of an address space takes, as a power of two.
    fn space_order(&self) -> u8;

    /// An address space whose top table is the zeroed memory at `root`, in which addresses around 512 MiB are free.
    fn space<'m>(&self, root: PhysAddr, ram: &'m DirectMap) -> KernelTables<'m>;

    /// Loads an address space, or the one without a process. Translations of the one before are forgotten.
    fn load_space(&self, space: Option<&KernelTables<'_>>);

    /// The processors that run.
    fn team(&self) -> &Team;

    /// Starts the processors behind the first, up to the first that does not come. `stack` makes a stack for the next one: the address behind its last byte.
    fn start_others(&self, boot: &Boot<'_>, pages: &Pages, stack: &mut NewStack<'_>);

    /// How many processors run.
    fn cpus(&self) -> u32 {
        self.team().cpus()
    }

    /// A running processor's own data.
    fn local(&self, cpu: u32) -> Option<&'static CpuLocal> {
        self.team().local(cpu)
    }

    /// Does `work` on every running processor, and returns when all have done it.
    fn on_each_cpu(&self, work: &Work<'_>) {
        self.team().on_each(work);
    }

    /// Puts vmalloc in service. Who has one format of tables overrides this: the code of every format that could be is as much again.
    ///
    /// # Errors
    /// [`SpaceError`]; nothing is done then.
    fn serve_space(&self, setup: &SpaceSetup<'_, '_>, work: &mut WithSpace<'_>) -> Result<(), SpaceError> {
        setup.serve(work)
    }

    /// Whether the kernel's top table lies among constants, so that the direct map has it read-only.
    fn root_is_sealed(&self) -> bool {
        false
    }

    /// The modules that the image has to load.
    fn modules(&self) -> Option<ModuleFiles> {
        None
    }

    /// Maps pages of high memory, where the kernel has windows for it: over the image's own format, as for modules.
    ///
    /// # Errors
    /// What is wrong.
    fn try_highmem(&self, _: &Subject<'_>) -> Result<Note, Note> {
        Err(note(format_args!("the image has no high memory")))
    }

    /// Does something with a loop of local kmaps over the image's own format, compiled for speed. It is to run on the first processor.
    #[cfg(feature = "bench")]
    fn with_kmaps(&self, _: &kmap::Windows<'_>, _: &mut dyn FnMut(&kmap::Pairs<'_>)) {}

    /// That loop without kmaps.
    #[cfg(feature = "bench")]
    fn empty_kmap_pairs(&self, _: PhysAddr, _: u64) {}

    /// Makes what was written there visible to all processors' fetching of instructions, where caches do not see to that.
    fn sync_code(&self, _: VirtRange) {}

    /// Whether each processor's timer interrupts it (and counts that in its own data).
    fn has_timer(&self) -> bool;

    /// The processor's finest counter, for benchmarks: in nanoseconds where it tells its frequency, else in its own unit. Under QEMU's
    /// `-icount shift=0` both are guest instructions.
    fn ticks(&self) -> u64;
}
