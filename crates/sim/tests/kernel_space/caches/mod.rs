mod aliases;
mod board;
mod rules;
mod vmap;
