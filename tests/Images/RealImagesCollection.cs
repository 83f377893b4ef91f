namespace PostCopy.Tests.Images;

/// <summary>The dumps are made once for all tests that read them.</summary>
[CollectionDefinition(Name)]
public sealed class RealImagesCollection : ICollectionFixture<RealImages>
{
    public const string Name = "real CRIU images";
}
