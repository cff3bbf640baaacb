mod aliases;
mod board;
mod rules;
