-- sh_commit_object() and its model, in SQL, are held equal by made-up calls: answers, errors and table contents. The
-- same with more rounds and other seeds: test/model/run --rounds 10000 --seed 7
SET client_min_messages = warning;
SELECT current_database() AS home \gset
DROP DATABASE IF EXISTS streamhouse_model;
CREATE DATABASE streamhouse_model;
\c streamhouse_model
SET client_min_messages = warning;
CREATE EXTENSION streamhouse;
\set ECHO none
\i test/model/compare.sql
\set ECHO all
CALL model_test.run(rounds => 400, seed => 20260101);
-- What the rounds reached.
SELECT status, error_code, times > 0 AS reached FROM model_test.reach ORDER BY status, error_code;
\c :home
DROP DATABASE streamhouse_model;
