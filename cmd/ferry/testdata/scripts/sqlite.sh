sqlite3 db 'create table t(a integer primary key, b text);
begin; with recursive n(i) as (select 1 union all select i+1 from n where i<5000)
insert into t select i, hex(randomblob(50)) from n; commit;'
test "$(sqlite3 db 'select count(*) from t')" = 5000
"$FERRY" wait --timeout 1m db
sqlite3 db 'update t set b = upper(b) where a % 7 = 0; delete from t where a % 2 = 0; vacuum;'
test "$(sqlite3 db 'pragma integrity_check')" = ok
test "$(sqlite3 db 'select count(*) from t')" = 2500
