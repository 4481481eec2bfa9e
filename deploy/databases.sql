-- Run once, when PostgreSQL's volume is new; the image makes the first database, amends, itself.
CREATE DATABASE mlflow;
CREATE DATABASE workflows;
