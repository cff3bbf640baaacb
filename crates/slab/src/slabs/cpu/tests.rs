use super::*;

#[test]
fn a_processor_without_rows_reaches_none_and_is_never_inside() {
    let (mut none, mut one) = ([], [Row::new()]);
    let (empty, cpu) = (SlabCpu::new(&mut none, 0), SlabCpu::new(&mut one, 0));
    // SAFETY: this thread alone is these processors.
    let (empty, here) = unsafe { (empty.here(), cpu.here()) };
    empty.requests().post(Requests::FLUSH);
    assert!(empty.with_row(0, |_| Some(())).is_none());
    assert!(empty.enter().is_none());
    assert!(empty.with_row(0, |_| Some(())).is_none());
    // One with a row has that one from the beginning, and no other.
    assert!(here.with_row(0, |row| Some(row.len())) == Some(0));
    assert!(here.with_row(1, |_| Some(())).is_none());
    drop(here.enter());
    assert!(here.with_row(0, |_| Some(())).is_some() && here.with_row(1, |_| Some(())).is_none());
}
