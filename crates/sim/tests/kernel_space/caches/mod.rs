mod aliases;
mod board;
mod high;
mod rules;
mod vmap;
