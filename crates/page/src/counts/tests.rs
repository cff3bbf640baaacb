//! Both forms of the counts do the same.

#[test]
fn both_forms_take_as_much_room() {
    assert_eq!(
        (size_of::<super::wide::Counts>(), align_of::<super::wide::Counts>()),
        (size_of::<super::halves::Counts>(), align_of::<super::halves::Counts>())
    );
}

macro_rules! facts {
    ($form:ident) => {
        mod $form {
            use crate::counts::$form::Counts;

            #[test]
            fn a_reference_is_added_to_some_and_the_last_one_stays() {
                let counts = Counts::default();
                assert!(counts.is_none() && !counts.is_one());
                assert_eq!((counts.take_reference(), counts.drop_reference()), (None, None));
                counts.set(1);
                assert!(counts.is_one() && !counts.is_none());
                assert_eq!((counts.take_reference(), counts.take_reference()), (Some(2), Some(3)));
                assert!(!counts.is_one() && !counts.freeze());
                assert_eq!((counts.drop_reference(), counts.drop_reference()), (Some(2), Some(1)));
                assert_eq!((counts.drop_reference(), counts.references()), (None, 1));
            }

            #[test]
            fn there_are_never_more_references_than_can_be_counted() {
                let counts = Counts::default();
                counts.set(u32::MAX - 1);
                assert_eq!(counts.take_reference(), Some(u32::MAX));
                assert_eq!((counts.take_reference(), counts.references()), (None, u32::MAX));
                assert_eq!(counts.mappings(), 0);
            }

            #[test]
            fn what_is_frozen_gives_no_reference() {
                let counts = Counts::default();
                counts.set(1);
                assert!(counts.freeze());
                assert!(counts.is_none());
                assert!(!counts.freeze());
                assert_eq!((counts.take_reference(), counts.drop_reference()), (None, None));
            }

            #[test]
            fn the_first_reference_and_the_last_are_stored() {
                let counts = Counts::default();
                counts.set_first();
                assert!(
                    counts.is_one()
                        && counts.take_reference() == Some(2)
                        && counts.drop_reference() == Some(1)
                );
                counts.clear_last();
                assert!(counts.is_none() && counts.take_reference().is_none());
            }

            #[test]
            fn what_is_mapped_is_not_alone_whatever_its_references() {
                let counts = Counts::default();
                for references in [0, 1, 2] {
                    counts.set_both(references, 1);
                    assert_eq!((counts.references(), counts.mappings()), (references, 1));
                    assert!(!counts.is_one() && !counts.is_none() && !counts.freeze());
                }
                counts.set(1);
                assert!(counts.is_one());
            }
        }
    };
}

facts!(wide);
facts!(halves);
