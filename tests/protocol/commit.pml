/* The commit protocol: every interleaving of a small run, for Debian's `spin`.
 *
 * One shard: shards share no key, so that more of them add nothing. It goes through STAGES stages.
 * DRIVERS drivers, WORKERS workers, a sweep, a `remove`, and FAULTS faults of any kind at any moment.
 * A worker that its driver wrongly takes for dead goes on: a zombie. What is frozen is a process
 * that others overtake; what never wakes up is one that was killed.
 *
 * In square brackets stands the function that a step models. A store call is one step. An object
 * is whole or not there (storage/objects/store.py); what answers CREATED has stored what was sent.
 *
 * `remove` creates a tombstone, which stays for ever, then deletes all else; a writer that finds it
 * takes back what it wrote, and stops. Spec and `launch.json` are left out: they are created as
 * `_SUCCESS.json` is. `remove --free-name` is left out: there a person says that no writer is left.
 *
 * Each property is a bit that is 1 until it is broken:
 *   one_commit     no two commits of a shard are ever visible, together or one after the other
 *   commit_true    what a commit names is there, as long as the run is
 *   receipt_true   what a worker says was committed, and what it goes on with, is what stands
 *   no_repeat      a driver gives out no shard that was committed before it started
 *   success_true   `_SUCCESS.json` is there only where every stage is committed
 *   removed_whole  `remove` leaves nothing but what comes later from a lost PUT, or from a writer that
 *                  is dead or that the store failed
 *   ends           (LTL) every driver that lives ends: all is committed, or the run was removed
 *
 * Compiled with -D and one of the names after #ifdef below, the protocol lacks one of its rules.
 */
#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef STAGES
#define STAGES 1
#endif
#ifndef DRIVERS
#define DRIVERS 2		/* 1 or 2, killed and resumed as long as there are faults */
#endif
#ifndef WORKERS
#define WORKERS 3		/* 2 or 3 */
#endif
#define LAST (STAGES - 1)
#define NOBODY 0		/* workers are numbered from 1 */
#define OLD (WORKERS + 1)	/* an attempt that is over, whoever's: nobody tells it from another */

mtype = { created, exists, unknown }			/* [storage.objects.store:Put] */
mtype = { waiting, receipt, failed, lost, gone }	/* what a driver hears of a shard */

typedef Shard {			/* what the store holds of it after one stage: */
	bit data[2];		/* data/{shard}-{digest}.parquet, for two digests */
	byte commit;		/* commits/{shard}.json: whose attempt made it, or NOBODY */
	bit rows;		/* and the digest that it names */
	bit seen;		/* (for one_commit) a commit was visible */
	bit made;		/* rows 0 were made: until then nothing tells them from rows 1 */
	bit late_data[2];	/* PUTs that were given up and may still arrive: of data, */
	bit late_commit[2]	/* and of commits, by attempts that are over */
}
Shard stage[STAGES];
bit success;			/* _SUCCESS.json */
bit removed;			/* the tombstone */

typedef Job {			/* what a worker is at */
	bit under_way;
	byte s;			/* stage */
	byte d;			/* the driver that gave it out */
	bit rows;		/* of this attempt */
	bit late		/* its commit may still arrive */
}
Job job[WORKERS + 1];
byte listens[DRIVERS];		/* the worker that a driver waits for */
mtype heard[DRIVERS] = waiting;
bit ended[DRIVERS], cleared;

byte faults = FAULTS;
bit stray;			/* something may have come after `remove` that nobody takes back */
bit one_commit = 1, commit_true = 1, receipt_true = 1, no_repeat = 1, success_true = 1,
    removed_whole = 1;
hidden byte i;

#define FAULT faults > 0 -> faults--
#define ALL_ENDED (ended[0] && ended[DRIVERS - 1])
#define BUSY(w) job[w].under_way
#define ALL_BUSY (BUSY(1) && BUSY(2) && BUSY(WORKERS))
#define ANY_BUSY (BUSY(1) || BUSY(2) || BUSY(WORKERS))

/* What anybody could read now keeps what was promised. */
inline look(n) {
	if
	:: stage[n].commit == NOBODY || removed
	:: else ->
		commit_true = commit_true && stage[n].data[stage[n].rows];
		assert(commit_true)
	fi
}

/* A create-only PUT arrives at the store.
 * [storage.objects.memory:MemoryStore.put_new] [storage.objects.local:LocalStore.put_new] */
inline arrive_data(n, digest, answer) {
	answer = (stage[n].data[digest] -> exists : created);
	stage[n].data[digest] = 1
}

inline arrive_commit(n, whose, digest, answer) {
	if
	:: stage[n].commit == NOBODY ->
		one_commit = one_commit && (removed || !stage[n].seen);
		stage[n].commit = whose; stage[n].rows = digest; answer = created
	:: else ->
#ifdef NO_CONDITION		/* without `If-None-Match: *` */
		one_commit = one_commit && (removed || stage[n].commit == whose);
		stage[n].commit = whose; stage[n].rows = digest; answer = created
#else
		answer = exists
#endif
	fi;
	assert(one_commit);
	stage[n].seen = stage[n].seen || !removed;
	look(n)
}

/* A worker makes one attempt after the other, for any driver.
 * [actors.workers.worker:ShardWorker.work] [storage.runs.commits:publish] */
active [WORKERS] proctype Worker() {
	bit won, what;
	mtype answer, outcome;
#define ME (_pid + 1)
#define S job[ME].s
#define ROWS job[ME].rows

end_idle:
	atomic {
		job[ME].under_way ->
		if			/* a repeated attempt need not make the same rows */
		:: ROWS = 0; stage[S].made = 1
		:: stage[S].made -> ROWS = 1
		fi;
#ifndef DEFIANT			/* never looks for the tombstone [storage.runs.removal:refuse_removed] */
		if
		:: removed -> outcome = gone; goto tell
		:: else
		fi;
#endif
#ifdef COMMIT_FIRST
		goto settle
#endif
	}
content:			/* [storage.runs.commits:put_content] [storage.objects.s3:S3Store.put_new] */
	atomic {
		if
		:: arrive_data(S, ROWS, answer)
		:: FAULT; arrive_data(S, ROWS, answer); answer = unknown	/* its reply is lost */
		:: FAULT; stage[S].late_data[ROWS] = 1; answer = unknown	/* comes late or never */
		:: FAULT; answer = exists		/* says the store, which has nothing */
		:: FAULT; goto killed
		fi;
		if
		:: answer == created -> answer = 0; goto stored
		:: else
		fi
	}
	atomic {
		if
		:: answer == exists && stage[S].data[ROWS] -> answer = 0; goto stored
		:: else ->		/* [storage.objects.patience:Patience.attempts] */
			answer = 0;
			if
			:: goto content
			:: outcome = failed; goto tell
			fi
		fi
	}
stored:
#ifdef COMMIT_FIRST
	atomic { outcome = receipt; goto tell }
#endif
settle:				/* [storage.runs.commits:settle] [storage.objects.s3:S3Store.put_new] */
	atomic {
		if
		:: arrive_commit(S, ME, ROWS, answer)
		:: FAULT; arrive_commit(S, ME, ROWS, answer); answer = unknown
		:: FAULT; job[ME].late = 1; answer = unknown
		:: FAULT; answer = exists
		:: FAULT; goto killed
		fi;
		if
		:: answer == created -> answer = 0; won = 1; what = ROWS; goto settled
#ifdef NO_READ_BACK		/* whatever the answer, our commit must be there by now */
		:: answer == exists -> answer = 0; won = 1; what = ROWS; goto settled
#endif
		:: else -> answer = 0
		fi
	}
	atomic {
		if			/* [storage.runs.commits:read_commit] */
#ifdef TIDY			/* anything but a success: we lost, and take our data away */
		:: stage[S].data[ROWS] = 0; look(S); outcome = failed; goto tell
#elif !defined(NO_READ_BACK)
		:: stage[S].commit != NOBODY ->
#ifdef DEAF			/* any commit is taken for our own */
			won = 1; what = ROWS;
#else
			won = stage[S].commit == ME; what = stage[S].rows;
#endif
			goto settled
		:: FAULT		/* it can't be read */
#endif
		:: stage[S].commit == NOBODY
		fi;
#ifdef DOGGED			/* reads on, and does not PUT again */
		goto unsettled;
#endif
		if			/* nothing is deleted [storage.errors:CommitUnknown] */
		:: goto settle
		:: outcome = failed; goto tell
		fi
	}
#ifdef DOGGED
unsettled:
	do
	:: stage[S].commit != NOBODY ->
		won = stage[S].commit == ME; what = stage[S].rows; goto settled
	:: else
	od;
#endif
settled:
#ifdef COMMIT_FIRST
	goto content;
#endif
	atomic { outcome = receipt; goto tell }

tell:				/* [storage.runs.commits:receipt_of] */
	atomic {
		if
		:: outcome == receipt && FAULT; goto killed
		:: true
		fi;
		if
#ifndef DEFIANT
		:: removed && outcome == failed -> stray = 1	/* it does not look again */
		:: removed && outcome != failed ->	/* takes back what it wrote [storage.runs.removal:obeyed] */
			stage[S].data[ROWS] = 0;
			stage[S].commit = (stage[S].commit == ME -> NOBODY : stage[S].commit);
			outcome = gone
#endif
		:: else ->
			receipt_true = receipt_true && (outcome != receipt || removed ||
				(stage[S].commit != NOBODY && stage[S].rows == what &&
				(!won || stage[S].commit == ME && ROWS == what)))
		fi;
		assert(receipt_true);
		goto rest
	}
killed:				/* [storage.errors:WorkerLost] */
	atomic { stray = removed; outcome = lost }
rest:
	atomic {
		if
		:: listens[job[ME].d] == ME -> listens[job[ME].d] = NOBODY; heard[job[ME].d] = outcome
		:: else			/* a zombie: nobody waits for it */
		fi;
#ifndef ONE_NAME		/* the next attempt has another name */
		stage[S].late_commit[ROWS] = stage[S].late_commit[ROWS] ||
			job[ME].late && stage[S].commit != ME;
		job[ME].late = 0;
		stage[S].commit = (stage[S].commit == ME -> OLD : stage[S].commit);
#endif
		ROWS = 0; job[ME].d = 0; S = 0; job[ME].under_way = 0;
		won = 0; what = 0; answer = 0; outcome = 0;
		goto end_idle
	}
}

/* A driver, and whoever resumes it once it was killed.
 * [workflows.runs.driving:continue_run] [workflows.schedule.driver:Driver.drive] */
active [DRIVERS] proctype Driver() {
	byte s, w;
	bit before[STAGES], shown[STAGES];
	mtype answer;
#define D (_pid - WORKERS)

start:
	atomic {
		if
		:: removed -> goto told
		:: else
		fi
	}
list:				/* [workflows.runs.driving:standing] [storage.runs.run:Run.shards_of] */
	atomic {
		before[s] = stage[s].commit != NOBODY;
#ifdef LIST_DATA		/* data is taken for commits */
		shown[s] = stage[s].data[0] || stage[s].data[1];
#elif !defined(START_OVER)	/* resumed without a look at what is committed */
		shown[s] = stage[s].commit != NOBODY;
#endif
		s++;
		if
		:: s < STAGES -> goto list
		:: else -> s = 0
		fi
	}
decide:				/* [workflows.schedule.schedule:Schedule.decide] */
	atomic {
		!ALL_BUSY ->
		do
		:: s < STAGES && shown[s] -> s++
		:: else -> break
		od;
		if
		:: s == STAGES -> goto finish
		:: else
		fi;
		no_repeat = no_repeat && (!before[s] || removed);
		assert(no_repeat);
		w = 1;
		do
		:: job[w].under_way -> w++
		:: else -> break
		od;
		listens[D] = w; job[w].d = D; job[w].s = s; job[w].under_way = 1;
		w = 0
	}
	atomic {
		if
		:: heard[D] == receipt -> s++	/* [workflows.schedule.schedule:Schedule.committed] */
		:: heard[D] == failed		/* [workflows.schedule.schedule:Schedule.failed] */
#ifndef FAITHFUL		/* waits for a worker that is dead */
		:: heard[D] == lost		/* [workflows.schedule.schedule:Schedule.broken] */
#endif
		:: heard[D] == gone -> goto told
		:: heard[D] == waiting && faults > 0 -> faults--; listens[D] = NOBODY	/* wrongly */
		:: heard[D] == waiting && faults > 0 -> faults--; goto killed
		fi;
		heard[D] = waiting;
		goto decide
	}
finish:				/* [storage.runs.run:Run.finish] */
	atomic {
		s--;
		success_true = success_true && (stage[s].commit != NOBODY || removed);
		assert(success_true);
		if
		:: s > 0 -> goto finish
		:: else
		fi
	}
seal:				/* [storage.runs.run:put_settled] */
	atomic {
		if
		:: success = 1; answer = created
		:: FAULT; success = 1; answer = unknown
		:: FAULT; answer = unknown
		:: FAULT; goto killed
		:: FAULT; success = 1; stray = removed; goto killed
		fi
	}
	atomic {
		if
		:: removed -> success = 0
		:: !removed && answer != created && !success -> goto seal
		:: else
		fi;
		goto told
	}
killed:				/* what it gave out goes on */
	atomic {
		listens[D] = NOBODY; heard[D] = waiting; s = 0; answer = 0;
		for (i : 0 .. LAST) { shown[i] = 0; before[i] = 0 }
		i = 0;
		goto start
	}
told:
	atomic {
		ended[D] = 1; heard[D] = waiting; s = 0; answer = 0;
		for (i : 0 .. LAST) { shown[i] = 0; before[i] = 0 }
		i = 0
	}
}

/* Deletes, at any time, what the commit of its shard does not name. Between reading a commit and
 * deleting lies any time: as no commit changes, that is a sweep that reads it later.
 * [storage.sweep:sweep] [storage.sweep:_named_keys] */
inline delete(n, digest) {
	stage[n].data[digest] = 0;
	look(n)
}
#define GARBAGE(n) (stage[n].commit != NOBODY && stage[n].data[1 - stage[n].rows])

active proctype Sweep() {
end_sweep:
	do
	:: atomic { GARBAGE(0) -> delete(0, 1 - stage[0].rows) }
	:: atomic { GARBAGE(LAST) -> delete(LAST, 1 - stage[LAST].rows) }
#ifdef GREEDY			/* what is not committed yet is taken for garbage */
	:: atomic { stage[0].commit == NOBODY && stage[0].data[0] -> delete(0, 0) }
#endif
	od
}

/* `remove`, or nobody asks for it. [storage.runs.removal:remove] */
active proctype Remove() {
	byte s;

	if
	:: cleared = 1
#ifndef KEPT			/* in this world nobody does */
	:: atomic { removed = 1; stray = 0 }
		do
		:: atomic {
				stage[s].commit = NOBODY; stage[s].data[0] = 0; stage[s].data[1] = 0;
				s++;
				if
				:: s == STAGES -> s = 0; break
				:: else
				fi
			}
		od;
		atomic {
			success = 0; cleared = 1;
#ifdef NAME_AGAIN		/* the tombstone goes, too */
			removed = 0
#endif
		}
#endif
	fi
}

/* PUTs that their senders gave up arrive, in any order, or never do. */
inline deliver(n, whose, digest) {
	arrive_commit(n, whose, digest, answer);
	answer = 0;
	stray = stray || removed
}
#define LATE_DATA(n, digest) \
	atomic { stage[n].late_data[digest] -> stage[n].late_data[digest] = 0; \
		arrive_data(n, digest, answer); answer = 0; stray = stray || removed }
#define LATE_COMMIT(n, digest) \
	atomic { stage[n].late_commit[digest] -> stage[n].late_commit[digest] = 0; \
		deliver(n, OLD, digest) }
#define LATE_OF(w) \
	atomic { job[w].late -> job[w].late = 0; deliver(job[w].s, w, job[w].rows) }

active proctype Late() {
	mtype answer;

end_late:
	do
	:: LATE_DATA(0, 0)
	:: LATE_DATA(0, 1)
	:: LATE_DATA(LAST, 0)
	:: LATE_DATA(LAST, 1)
	:: LATE_COMMIT(0, 0)
	:: LATE_COMMIT(0, 1)
	:: LATE_COMMIT(LAST, 0)
	:: LATE_COMMIT(LAST, 1)
	:: LATE_OF(1)
	:: LATE_OF(2)
	:: LATE_OF(WORKERS)
	od
}

/* When all is quiet. */
active proctype Last() {
end_last:
	atomic {
		ALL_ENDED && cleared && !ANY_BUSY ->
		for (i : 0 .. LAST) {
			removed_whole = removed_whole && (!removed || stray || (!success &&
				stage[i].commit == NOBODY && !stage[i].data[0] && !stage[i].data[1]))
		}
		i = 0;
		assert(removed_whole)
	}
}

ltl ends { <> ALL_ENDED }
