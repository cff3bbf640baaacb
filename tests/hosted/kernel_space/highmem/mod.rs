mod contents;
mod kmap;
mod local;
mod model;
mod zeroing;
