using System.Globalization;
using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>A full Redis that clients read at random (redis-benchmark) from the moment on at which it answers on the destination.</summary>
internal sealed class RedisLoad(Mover mover, int mebibytes)
{
    internal const int Requests = 20_000;
    private const int Clients = 8;
    private const int ValueBytes = 1000;
    private const string Name = "redis";
    private const string BundleName = "redis-bundle";

    /// <summary>What a key takes beside its value, roughly: the sum is to be about the memory asked for.</summary>
    private const int OverheadBytes = 150;

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);

    private int Keys => (mebibytes << 20) / (ValueBytes + OverheadBytes);

    public async Task<Load> MoveAsync(params string[] options)
    {
        Console.Error.Write($"perf: {mebibytes} MiB, Redis, {string.Join(' ', options)}: ");
        (LabHost a, LabHost b) = (mover.Lab["a"], mover.Lab["b"]);
        string bundle = await Bundle.MakeAsync(mover.Lab, BundleName, "host", [], "redis-server", "--save", "", "--appendonly", "no");
        Container redis = await Container.RunAsync(a, Name, bundle);
        await Condition.WaitAsync(() => a.IsListening(6379), Limit, "redis to listen");
        // The names under which redis-benchmark asks for keys.
        await a.RunAsync("redis-cli", "EVAL", $"local value = string.rep('x', {ValueBytes}) for i = 0, {Keys - 1} do redis.call('SET', string.format('key:%012d', i), value) end", "0");

        Load load;
        await using (Migration migration = mover.Start(Name, options))
        {
            await Condition.WaitAsync(() => b.IsListening(6379), Limit, "redis to have moved");
            string[] csv = (await b.RunAsync("redis-benchmark", "--csv", "-n", $"{Requests}", "-c", $"{Clients}", "-r", $"{Keys}", "GET", "key:__rand_int__")).Trim().Split('\n')[^1].Split(',');
            load = new Load(Requests / Number(csv[1]), Number(csv[6]));
            Assert.Equal($"{Keys}", (await b.RunAsync("redis-cli", "DBSIZE")).Trim());
            // With some policies not all of its memory would ever come.
            await redis.RemoveFromAsync(b);
            await migration.WaitAsync();
        }

        Directory.Delete(bundle, recursive: true);
        Console.Error.WriteLine($"{load}");
        return load;
    }

    private static double Number(string quoted) => double.Parse(quoted.Trim('"'), CultureInfo.InvariantCulture);

    /// <param name="Seconds">From its first answer to the last of all requests.</param>
    /// <param name="P99Ms">Of one request.</param>
    internal sealed record Load(double Seconds, double P99Ms);
}
