BEGIN TRANSACTION;
CREATE TABLE bench (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL,
  generation INTEGER NOT NULL,
  endpoint TEXT NOT NULL,
  ended_at_s REAL NOT NULL,
  num_requests INTEGER NOT NULL,
  num_errors INTEGER NOT NULL,
  requests_per_s REAL NOT NULL,
  p50_s REAL NOT NULL,
  p99_s REAL NOT NULL
);
INSERT INTO "bench" VALUES(1,'s1',2,'/embed',1003.0,800,1,40.5,0.02,0.03);
CREATE TABLE iteration (
  id INTEGER PRIMARY KEY,
  session TEXT NOT NULL,
  number INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  saved_at_s REAL NOT NULL,
  is_save_estimated INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  generation INTEGER,
  num_files INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  feedback_s REAL NOT NULL,
  ready_s REAL,
  phases_s TEXT NOT NULL,
  start TEXT NOT NULL,
  models TEXT NOT NULL,
  probes TEXT NOT NULL,
  error_type TEXT NOT NULL,
  error_file TEXT NOT NULL,
  error_line INTEGER NOT NULL
);
INSERT INTO "iteration" VALUES(1,'s1',0,'ok',1000.0,0,1,1,1,10,0.5,0.2,'{"detect": 0.1, "sync": 0.1, "apply": 0.1, "reload": 0.1, "warmup": 0.05, "first_output": 0.05}','zygote','[["m", "loaded", "resident", 0.1, 5]]','[]','','',0);
INSERT INTO "iteration" VALUES(2,'s1',1,'ok',1001.0,0,2,2,1,10,0.5,0.2,'{"detect": 0.1, "sync": 0.1, "apply": 0.1, "reload": 0.1, "warmup": 0.05, "first_output": 0.05}','standby','[["m", "kept", "resident", 0.001, 5]]','[]','','',0);
INSERT INTO "iteration" VALUES(3,'s1',2,'failed',1002.0,0,3,NULL,1,10,0.5,0.2,'{"detect": 0.1, "sync": 0.1, "apply": 0.1, "reload": 0.1, "warmup": 0.05, "first_output": 0.05}','standby','[]','[]','KeyError','app.py',7);
INSERT INTO "iteration" VALUES(4,'s1',3,'ok',1003.0,0,4,4,1,10,0.5,0.2,'{"detect": 0.1, "sync": 0.1, "apply": 0.1, "reload": 0.1, "warmup": 0.05, "first_output": 0.05}','standby','[["m", "loaded", "resident", 0.3, 5]]','[["p", true, true, 0.1, 0.05]]','','',0);
INSERT INTO "iteration" VALUES(5,'s1',4,'ok',1004.0,0,5,5,1,10,0.5,0.2,'{"detect": 0.1, "sync": 0.1, "environment": 0.2, "apply": 0.0, "reload": 0.05, "warmup": 0.0, "first_output": 0.05}','zygote','[]','[]','','',0);
CREATE INDEX iteration_saved ON iteration (saved_at_s);
COMMIT;
PRAGMA user_version = 2;
