using System.Globalization;
using PostCopy.Linux;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Linux;

/// <summary>Whoever moves pages in bulk stands behind CRIU until the tasks run.</summary>
public sealed class BulkThreadTests
{
    [SkippableTheory]
    [InlineData(true, -10)]
    [InlineData(false, 0)]
    public void It_is_lowered_until_the_tasks_run(bool installs, int niceThen)
    {
        Bed.RequirePostCopy();
        BulkThread bulk = new(installs);
        using SemaphoreSlim entered = new(0), over = new(0);
        int id = 0;
        Thread thread = new(() =>
        {
            bulk.Enter();
            id = FaultPriority.Thread;
            entered.Release();
            over.Wait();
            bulk.Leave();
        });
        thread.Start();
        entered.Wait();
        int before = NiceOf(id);
        bulk.TasksRun();
        int then = NiceOf(id);
        over.Release();
        thread.Join();
        Assert.Equal((10, niceThen), (before, then));
    }

    [SkippableFact]
    public void One_that_begins_later_is_not()
    {
        Bed.RequirePostCopy();
        BulkThread bulk = new(installs: true);
        bulk.TasksRun();
        int nice = 0;
        Thread thread = new(() =>
        {
            bulk.Enter();
            nice = NiceOf(FaultPriority.Thread);
            bulk.Leave();
        });
        thread.Start();
        thread.Join();
        Assert.Equal(-10, nice);
    }

    /// <summary>proc_pid_stat(5), field 19.</summary>
    private static int NiceOf(int thread)
    {
        string stat = File.ReadAllText($"/proc/self/task/{thread}/stat");
        return int.Parse(stat[(stat.LastIndexOf(')') + 2)..].Split(' ')[16], CultureInfo.InvariantCulture);
    }
}
