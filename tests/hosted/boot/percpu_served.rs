//! The first per-CPU chunk that a boot has placed, served: an allocator over its units, wherever they lie.

use crate::failing_tables::ram;
use crate::percpu_pages::two_nodes;
use crate::support::facts::Depth;
use crate::support::spec::{Spec, arm, arm64, pc, pc_of};
use pagewright::Boot;
use pagewright::percpu::{FirstChunkError, How, NoChunks, PerCpuAllocator, UnitPlace};
use pagewright::platform::{Carve, NoInterrupts};
use pagewright_firmware::config::Flavour;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Where a unit begins, whatever kind of address it has.
fn start(unit: UnitPlace) -> u64 {
    match unit {
        UnitPlace::Ram(range) => range.start.get(),
        UnitPlace::Mapped(range) => range.start.get(),
    }
}

/// Serves the boot's first chunk from host memory, in which the units are as far apart as in the machine's.
fn serve(boot: &Boot<'_>) {
    let info = boot.percpu.as_ref().unwrap();
    let (cpus, page) = (info.count_cpus(), boot.page_bytes());
    assert_eq!(cpus, boot.possible_cpus.count() as usize);
    let starts: Vec<u64> = (0..cpus as u32).map(|cpu| start(info.unit(cpu).unwrap())).collect();
    assert_eq!(info.unit(cpus as u32), None);
    let lowest = *starts.iter().min().unwrap();
    let span = starts.iter().max().unwrap() + info.unit_size - lowest;
    let layout = Layout::from_size_align(span as usize, page as usize).unwrap();
    // SAFETY: of some bytes.
    let host = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap();
    // SAFETY: units begin at most a span behind the lowest.
    let seen = |unit| Some(unsafe { host.add((start(unit) - lowest) as usize) });
    let mut offsets = vec![0; cpus];
    let none = boot.first_chunk(&mut offsets, |unit| seen(unit).filter(|_| start(unit) != starts[cpus - 1]));
    assert_eq!(none.unwrap_err(), FirstChunkError::NotSeen { cpu: cpus as u32 - 1 });
    let all_at_once = boot.first_chunk(&mut offsets, |_| Some(host)).map(|_| ());
    assert_eq!(all_at_once, if cpus == 1 { Ok(()) } else { Err(FirstChunkError::Geometry) });
    let mut more = vec![0; cpus + 1];
    let room = boot.first_chunk(&mut more, seen).unwrap_err();
    assert_eq!(room, FirstChunkError::Room { room: cpus + 1, cpus });

    let (geometry, first) = boot.first_chunk(&mut offsets, seen).unwrap();
    assert_eq!(first.lowest, host);
    assert_eq!(
        [first.static_size, first.reserved_size, first.dyn_size],
        [info.static_size, info.reserved_size, info.dyn_size]
    );
    let bytes = PerCpuAllocator::<NoChunks, NoInterrupts>::bytes_for(&geometry, 0);
    let mut words = vec![0_u64; bytes.div_ceil(8) as usize];
    let mut room = Carve::of(&mut words);
    // SAFETY: the units lie in the host's memory above, which is nobody else's and outlives the allocator.
    let percpu = unsafe { PerCpuAllocator::new(geometry, &first, 0, &mut room, NoChunks, NoInterrupts) };
    let percpu = percpu.unwrap();
    for how in [How::Grow, How::Reserved] {
        let (mut held, mut got) = (vec![], 0);
        while let Ok(bytes) = percpu.alloc(64, 64, how) {
            for (cpu, start) in starts.iter().enumerate() {
                let copy = percpu.copy(&bytes, cpu).unwrap();
                let within = copy.addr().get() as u64 - host.addr().get() as u64 - (start - lowest);
                assert!(
                    within >= info.static_size && within + 64 <= info.size_sum(),
                    "CPU {cpu}: {within:#x}"
                );
                // SAFETY: the copy is ours, of 64 bytes.
                unsafe {
                    assert_eq!(copy.cast::<u64>().read(), 0, "nobody else's");
                    copy.cast::<u64>().write(cpu as u64 + 1);
                }
            }
            got += 64;
            held.push(bytes);
        }
        let part = if how == How::Grow { info.dyn_size } else { info.reserved_size };
        assert!(got <= part && got + 128 > part, "{got} of {part} bytes");
        held.into_iter().for_each(|bytes| percpu.free(bytes).unwrap());
    }
    percpu.validate().unwrap();
    // SAFETY: allocated above, and the allocator is used no more.
    unsafe { dealloc(host.as_ptr(), layout) };
}

#[test]
fn the_first_chunk_of_every_boot_can_be_served() {
    let mut machines: Vec<Spec> = vec![
        pc(256).cpus(3),
        two_nodes(),
        arm64(256).cpus(2),
        arm(Flavour::Armmp, 256).cpus(4),
        pc_of(Flavour::I686, 256).cpus(2),
        arm64(256).config(|c| {
            (c.smp, c.nr_cpus, c.numa, c.numa_balancing, c.pernuma_cma) = (false, 1, false, false, false)
        }),
    ];
    let paged = [two_nodes(), arm64(256).cpus(2), pc_of(Flavour::I686Pae, 256).cpus(2)];
    machines.extend(paged.map(|spec| spec.cmdline("cma=0 percpu_alloc=page")));
    for spec in machines {
        let memory = ram(&spec);
        let (built, log) = spec.boot_looking(Depth::Memblock, |boot| boot.set_table_memory(memory), serve);
        built.unwrap_or_else(|e| panic!("{e}: {:#?}", log.lines.borrow()));
    }
}
