//! Facts about how readings are compared.

use super::*;
use serde_json::json;

#[test]
fn a_key_that_linux_lacks_is_a_difference() {
    let linux = json!([{"node": 0, "DMA": {"pages": {"free": 1}}}]);
    let ours = json!([{"node": 0, "DMA": {"pages": {"free": 9, "boost": 0}}}]);
    assert_eq!(same_keys(&ours, &linux).unwrap_err(), "we have .DMA.pages.boost, Linux does not");
    assert_eq!(same_keys(&linux, &ours).unwrap_err(), "Linux has .DMA.pages.boost, we do not");
}

#[test]
fn values_and_lengths_of_lists_may_differ() {
    let linux = json!([{"start": "0", "device": "a"}, {"start": "1", "device": "b"}]);
    let ours = json!([{"start": "2", "device": "c"}]);
    assert_eq!(same_keys(&ours, &linux), Ok(()));
}

#[test]
fn an_empty_reading_fails_every_check() {
    for (file, check) in CHECKS {
        for empty in [json!([]), json!({}), json!(null)] {
            assert!(check(&empty).is_err(), "{file} accepts {empty}");
        }
    }
}

#[test]
fn one_machine_of_each_architecture_is_taken() {
    let captures = ["arm-1g", "arm-2g", "arm64-1g", "i386-2g"].map(PathBuf::from).to_vec();
    let chosen = one_of_each_architecture(captures);
    assert_eq!(chosen, ["arm-1g", "arm64-1g", "i386-2g"].map(PathBuf::from).to_vec());
}
