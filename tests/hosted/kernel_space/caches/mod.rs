mod aliases;
mod board;
mod coherent;
mod high;
mod rules;
mod vmap;
