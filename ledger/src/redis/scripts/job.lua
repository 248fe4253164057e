-- ARGV: prefix, job. Its fields and their values; none when it is unknown.
return record(open(ARGV[2])) or {}
