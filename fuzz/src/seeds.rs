//! The first corpus: small inputs, each with something in it that a parser must get right. Written by hand, so that
//! mutations start close to the interesting places.

mod binary;
mod text;

/// All seeds: target, file name, bytes.
pub fn all() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let mut all = binary::all();
    all.extend(text::all().into_iter().map(|(target, name, text)| (target, name, text.as_bytes().to_vec())));
    all
}
