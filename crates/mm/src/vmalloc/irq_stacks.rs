//! The stacks that interrupts are handled on, where Linux has them in vmalloc space (CONFIG_VMAP_STACK): the first areas that are made once it serves
//! (`init_IRQ`), one for each processor.
//!
//! arm and arm64 allocate them, for every processor that is possible. x86_64 has them in each processor's unit of the first per-CPU chunk and maps them once
//! more, so that the page behind one faults, when the processor starts. i386 has none there.

use crate::boot::Boot;
use arrayvec::ArrayVec;
use pagewright_addr::{NodeId, PhysAddr, VirtAddr};
use pagewright_firmware::Arch;
use pagewright_kspace::stacks::StackShape;
use pagewright_kspace::vmalloc::{VmContext, VmFlags, VmRequest, Vmalloc, VmallocError};
use pagewright_pagetable::{Format, TableMemory};
use pagewright_zone::Gfp;

/// Pages of x86_64's (IRQ_STACK_SIZE).
const X86_PAGES: u64 = 4;
/// Where x86_64's lie in a unit: what is aligned to pages comes behind the first page (`fixed_percpu_data`). Which page of that it is a build decides.
const X86_OFFSET: u64 = 1 << 12;

/// A processor's stack for interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IrqStack {
    /// The processor.
    pub cpu: u32,
    /// Its bytes and alignment.
    pub shape: StackShape,
    /// Whose memory it is, if it is made of pages of its own and the kernel looks for them on the processor's node.
    pub node: Option<NodeId>,
    /// Where it begins in its processor's unit, if it lies there and is only mapped.
    pub offset: Option<u64>,
}

impl IrqStack {
    /// Linux's function that asks for the area, as `/proc/vmallocinfo` names it.
    pub const fn function(&self) -> &'static str {
        match self.offset {
            Some(_) => "irq_init_percpu_irqstack",
            // `init_IRQ` is built into it, and what that calls names its caller.
            None => "start_kernel",
        }
    }

    /// What the area is.
    pub const fn flags(&self) -> VmFlags {
        match self.offset {
            Some(_) => VmFlags::MAP,
            None => VmFlags::ALLOC,
        }
    }
}

impl Boot<'_> {
    /// The stacks for interrupts that this kernel has in vmalloc space, by processor.
    pub fn irq_stacks(&self) -> impl Iterator<Item = IrqStack> {
        let (arch, page) = (self.machine.arch, self.page_bytes());
        let own = match arch {
            Arch::Arm64 => true,
            Arch::Arm => self.version.since(5, 18),
            Arch::I386 | Arch::X86_64 => false,
        };
        let unit = self.percpu.as_ref().map_or(0, |info| info.static_size);
        let mapped = arch == Arch::X86_64 && unit >= X86_OFFSET + X86_PAGES * page;
        let shape = StackShape::of(arch, page);
        let possible = self.possible_cpus.iter().filter(move |_| own).map(move |cpu| IrqStack {
            cpu,
            shape,
            node: (arch == Arch::Arm64).then(|| self.node_of_cpu(cpu)),
            offset: None,
        });
        let online = self.online_cpus().filter(move |_| mapped).map(move |cpu| IrqStack {
            cpu,
            shape: StackShape { bytes: X86_PAGES * page, align: page },
            node: None,
            offset: Some(X86_OFFSET),
        });
        possible.chain(online)
    }

    /// Makes them in the kernel's vmalloc area, and tells `made` where each begins.
    ///
    /// # Errors
    /// [`VmallocError`] of the first that cannot be; those that `made` was told of stay.
    pub fn init_irq_stacks<'a, F: Format, M: TableMemory, C: VmContext<'a>>(
        &self,
        on: &mut C,
        vmalloc: &Vmalloc<'_, 'a, F, M>,
        made: &mut dyn FnMut(VirtAddr),
    ) -> Result<(), VmallocError> {
        self.irq_stacks().try_for_each(|stack| {
            let StackShape { bytes, align } = stack.shape;
            let Some(offset) = stack.offset else {
                let gfp = Gfp::GFP_KERNEL | Gfp::ZERO;
                let request = VmRequest { node: stack.node, ..VmRequest::new(bytes) };
                return vmalloc.vmalloc_request(on, &request.with_gfp(gfp).aligned(align)).map(&mut *made);
            };
            let page = |n: u64| self.unit_phys(vmalloc, stack.cpu, offset + n * self.page_bytes());
            let pages: Option<ArrayVec<_, { X86_PAGES as usize }>> =
                (0..X86_PAGES).map(|n| page(n).map(|at| at.pfn(self.machine.config.page_shift))).collect();
            // A processor without a unit does not run.
            let Some(pages) = pages else { return Ok(()) };
            vmalloc.vmap(on, &pages, VmFlags::MAP, vmalloc.config().attr).map(&mut *made)
        })
    }

    /// Where a byte of a processor's unit of the first chunk is.
    fn unit_phys<'a, F: Format, M: TableMemory>(
        &self,
        vmalloc: &Vmalloc<'_, 'a, F, M>,
        cpu: u32,
        offset: u64,
    ) -> Option<PhysAddr> {
        let info = self.percpu.as_ref()?;
        let (group, at) = info.groups.iter().find_map(|group| {
            info.cpus(group).iter().position(|c| *c == cpu).map(|at| (group, at as u64 * info.unit_size))
        })?;
        match info.paged {
            None => group.base.checked_add(at + offset),
            Some(first) => vmalloc.translate(VirtAddr::new(first.get() + at + offset)).ok(),
        }
    }
}
