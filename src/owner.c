/* owner.c: functions that run with the rights of the extension's owner and still know who called.
 *
 * PostgreSQL's SECURITY DEFINER forgets the caller, and rights on topics are the caller's. So a function of
 * people, sh_name(), is declared in C as streamhouse_as_owner: it calls streamhouse.name(), which has the
 * same arguments, as the owner, and whatever runs inside asks access_caller(). Nobody but the owner may call
 * streamhouse.name().
 *
 * The caller's search_path would choose the operators of queries that run inside, and so run the caller's
 * code as the owner: it is put aside for that time. */
#include "compat.h"
#include "owner.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "access.h"

PG_FUNCTION_INFO_V1(streamhouse_as_owner);
PG_FUNCTION_INFO_V1(streamhouse_caller);

#define PUBLIC_PREFIX "sh_"

static Oid caller = InvalidOid;

Oid owner_id(void)
{
    HeapTuple row = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(get_namespace_oid("streamhouse", false)));
    if (!HeapTupleIsValid(row)) {
        elog(ERROR, "schema streamhouse is gone");
    }
    Oid owner = ((Form_pg_namespace)GETSTRUCT(row))->nspowner;
    ReleaseSysCache(row);
    return owner;
}

Oid access_caller(void)
{
    return OidIsValid(caller) && GetUserId() == owner_id() ? caller : GetUserId();
}

/* An ERROR takes it back by itself, as it does in functions with a SET clause. */
static int search_path_set(void)
{
    int level = NewGUCNestLevel();
    (void)set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
                            true, 0, false);
    return level;
}

void owner_run_c(void (*work)(void *argument), void *argument)
{
    Oid user;
    int security;
    Oid outer = caller;
    Oid asks = access_caller();
    GetUserIdAndSecContext(&user, &security);
    PG_TRY();
    {
        caller = asks;
        SetUserIdAndSecContext(owner_id(), security | SECURITY_LOCAL_USERID_CHANGE);
        work(argument);
    }
    PG_FINALLY();
    {
        caller = outer;
        SetUserIdAndSecContext(user, security);
    }
    PG_END_TRY();
}

typedef struct OwnerWork {
    void (*work)(void *argument);
    void *argument;
} OwnerWork;

static void work_with_search_path(void *argument)
{
    const OwnerWork *inner = argument;
    int level = search_path_set();
    inner->work(inner->argument);
    AtEOXact_GUC(true, level);
}

void owner_run(void (*work)(void *argument), void *argument)
{
    OwnerWork inner = { work, argument };
    owner_run_c(work_with_search_path, &inner);
}

/* streamhouse.name() with the arguments of sh_name(). */
static Oid inner_function(Oid outer)
{
    Oid *types;
    int count;
    Oid result;
    char *name = get_func_name(outer);
    result = get_func_signature(outer, &types, &count);
    if (!OidIsValid(result) || !name || strncmp(name, PUBLIC_PREFIX, strlen(PUBLIC_PREFIX)) != 0) {
        elog(ERROR, "function %u is not one of streamhouse's", outer);
    }
    List *inner = list_make2(makeString("streamhouse"), makeString(name + strlen(PUBLIC_PREFIX)));
    return LookupFuncName(inner, count, types, false);
}

typedef struct OwnerCall {
    FunctionCallInfo outer;
    FunctionCallInfo inner;
    Datum result;
} OwnerCall;

static FmgrInfo *inner_lookup(FmgrInfo *outer)
{
    FmgrInfo *found = MemoryContextAlloc(outer->fn_mcxt, sizeof(FmgrInfo));
    fmgr_info_cxt(inner_function(outer->fn_oid), found, outer->fn_mcxt);
    found->fn_expr = outer->fn_expr;
    return found;
}

/* The caller need not have any right to schema streamhouse: the owner looks the function up, too. */
static void call_invoke(void *argument)
{
    OwnerCall *call = argument;
    FunctionCallInfo outer = call->outer;
    FunctionCallInfo inner = call->inner;
    if (!outer->flinfo->fn_extra) {
        outer->flinfo->fn_extra = inner_lookup(outer->flinfo);
    }
    InitFunctionCallInfoData(*inner, outer->flinfo->fn_extra, outer->nargs, outer->fncollation,
                             outer->context, outer->resultinfo);
    memcpy(inner->args, outer->args, sizeof(NullableDatum) * outer->nargs);
    call->result = FunctionCallInvoke(inner);
}

Datum streamhouse_as_owner(PG_FUNCTION_ARGS)
{
    LOCAL_FCINFO(inner, FUNC_MAX_ARGS);
    OwnerCall call = { .outer = fcinfo, .inner = inner };
    owner_run(call_invoke, &call);
    fcinfo->isnull = inner->isnull;
    return call.result;
}

/* streamhouse.caller(): for functions in SQL that run within streamhouse_as_owner. */
Datum streamhouse_caller(PG_FUNCTION_ARGS)
{
    PG_RETURN_OID(access_caller());
}
