mod indices;
mod signatures;
mod transfers;
