//! Facts about running programs.

use super::*;

#[test]
fn output_and_exit_code_are_kept_apart() {
    let out = Cmd::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]).run().unwrap();
    assert_eq!(out.code, Some(3));
    assert_eq!(out.stdout, "out\n");
    assert!(out.text.contains("err"));
    assert!(!out.ok());
}

#[test]
fn input_reaches_the_program() {
    let out = Cmd::new("cat").input("three\nlines\nhere\n").run().unwrap();
    assert_eq!(out.stdout, "three\nlines\nhere\n");
}

#[test]
fn a_program_that_ignores_its_input_is_no_error() {
    let out = Cmd::new("true").input(vec![b'x'; 1 << 20]).run().unwrap();
    assert!(out.ok());
}

#[test]
fn the_time_limit_ends_grandchildren_too() {
    let start = Instant::now();
    // Without the grandchild's end the pipe would stay open for the whole minute.
    let out =
        Cmd::new("sh").args(["-c", "sleep 60; echo late"]).limit(Duration::from_millis(200)).run().unwrap();
    assert!(out.timed_out && !out.ok());
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(!out.text.contains("late"));
}

#[test]
fn a_missing_program_is_named() {
    let error = Cmd::new("no-such-program-here").run().err().unwrap();
    assert!(error.contains("no-such-program-here"), "{error}");
}

#[test]
fn tail_takes_the_last_lines() {
    assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
    assert_eq!(tail("a", 5), "a");
}
